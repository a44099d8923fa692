#include "model/store/quant.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <set>

namespace ration {
namespace {

// Best first: four bits with a good spread of bits over the layers, then what is near in size, then
// larger, then smaller. What is not in the list comes last.
constexpr std::array<std::string_view, 37> kQuants{
    "Q4_K_M", "Q4_K_S",  "Q4_K_L", "Q4_K_XL", "Q4_K",   "Q4_1",   "Q4_0",  "IQ4_NL",
    "IQ4_XS", "MXFP4",   "Q5_K_M", "Q5_K_S",  "Q5_K_L", "Q5_K",   "Q5_1",  "Q5_0",
    "Q6_K",   "Q6_K_L",  "Q8_0",   "Q3_K_L",  "Q3_K_M", "Q3_K_S", "Q3_K",  "Q2_K",
    "Q2_K_S", "F16",     "FP16",   "BF16",    "F32",    "FP32",   "IQ3_M", "IQ3_S",
    "IQ3_XS", "IQ3_XXS", "IQ2_M",  "IQ2_XS",  "IQ2_XXS"};

bool is_word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

// Where `word` stands by itself in `text`, the last place; an underscore before it is a border (as
// in model_q4_0), one behind it is not (Q4_K is not in Q4_K_M).
std::optional<size_t> find_word(std::string_view text, std::string_view word) {
  for (size_t at = text.rfind(word); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : text.rfind(word, at - 1)) {
    const bool begins = at == 0 || text[at - 1] == '_' || !is_word_character(text[at - 1]);
    const size_t end = at + word.size();
    if (begins && (end == text.size() || !is_word_character(text[end]))) return at;
  }
  return std::nullopt;
}

struct SplitName {
  std::string stem;  // the path without "-00001-of-00003.gguf", or without ".gguf"
  int index = 1;
  int count = 1;
};

std::optional<int> five_digits(std::string_view text) {
  if (text.size() != 5 ||
      !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return std::nullopt;
  }
  int value = 0;
  for (const char c : text) value = value * 10 + (c - '0');
  return value;
}

SplitName split_name(std::string_view path) {
  std::string_view stem = path.substr(0, path.size() - std::string_view(".gguf").size());
  constexpr size_t kTail = std::string_view("-00001-of-00003").size();
  if (stem.size() > kTail) {
    const std::string_view tail = stem.substr(stem.size() - kTail);
    const std::optional<int> index = five_digits(tail.substr(1, 5));
    const std::optional<int> count = five_digits(tail.substr(10));
    if (tail[0] == '-' && tail.substr(6, 4) == "-of-" && index && count && *index >= 1 &&
        *index <= *count) {
      return {std::string(stem.substr(0, stem.size() - kTail)), *index, *count};
    }
  }
  return {std::string(stem)};
}

bool is_model(std::string_view path) {
  if (!path.ends_with(".gguf")) return false;
  const std::string name = upper(path.substr(path.rfind('/') + 1));
  return name.find("MMPROJ") == std::string::npos && name.find("IMATRIX") == std::string::npos;
}

std::string listed(const std::vector<Variant>& variants) {
  std::vector<std::string> names;
  for (const Variant& variant : variants) {
    names.push_back(variant.quant.empty() ? variant.files.front().path : variant.quant);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (names.size() > 30) names.resize(30);
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<Variant> choose_file(const std::vector<Variant>& variants, std::string_view file,
                            std::string_view where) {
  for (const Variant& variant : variants) {
    for (const RemoteFile& part : variant.files) {
      if (part.path == file) return variant;
    }
  }
  return Error{Code::kNotFound,
               fmt::format("{} has no file {}, found {}", where, file, listed(variants))};
}

}  // namespace

std::string quant_of(std::string_view path) {
  if (!path.ends_with(".gguf")) return "";
  const std::string stem = upper(split_name(path).stem);
  std::optional<size_t> best_at;
  std::string_view best;
  for (const std::string_view quant : kQuants) {
    const std::optional<size_t> at = find_word(stem, quant);
    if (at && (!best_at || *at > *best_at)) {
      best_at = at;
      best = quant;
    }
  }
  if (!best_at) return "";
  const bool dynamic = *best_at >= 3 && std::string_view(stem).substr(*best_at - 3, 3) == "UD-";
  return std::string(dynamic ? "UD-" : "") + std::string(best);
}

int quant_rank(std::string_view quant) {
  const bool dynamic = quant.starts_with("UD-");
  if (dynamic) quant.remove_prefix(3);
  const auto at = std::find(kQuants.begin(), kQuants.end(), quant);
  return static_cast<int>(at - kQuants.begin()) * 2 + (dynamic ? 1 : 0);
}

std::vector<Variant> find_variants(const std::vector<RemoteFile>& files) {
  struct Group {
    int count = 1;
    std::map<int, RemoteFile> parts;
  };
  std::map<std::string, Group> groups;
  for (const RemoteFile& file : files) {
    if (!is_model(file.path)) continue;
    const SplitName name = split_name(file.path);
    Group& group = groups[fmt::format("{}/{}", name.stem, name.count)];
    group.count = name.count;
    group.parts.emplace(name.index, file);
  }
  std::vector<Variant> variants;
  for (auto& [stem, group] : groups) {
    if (static_cast<int>(group.parts.size()) != group.count) continue;
    Variant variant{.quant = quant_of(group.parts.begin()->second.path)};
    for (auto& [index, file] : group.parts) variant.files.push_back(std::move(file));
    variants.push_back(std::move(variant));
  }
  return variants;
}

Result<Variant> choose_variant(const std::vector<Variant>& variants, std::string_view quant,
                               std::string_view file, std::string_view where) {
  if (variants.empty()) {
    return Error{Code::kNotFound,
                 fmt::format("{} holds no .gguf model: repositories that do often end in "
                             "-GGUF",
                             where)};
  }
  if (!file.empty()) return choose_file(variants, file, where);
  std::vector<const Variant*> fitting;
  const auto take = [&](auto fits) {
    if (!fitting.empty()) return;
    for (const Variant& variant : variants) {
      if (fits(variant)) fitting.push_back(&variant);
    }
  };
  if (quant.empty()) {
    int best = quant_rank("none");
    for (const Variant& variant : variants) best = std::min(best, quant_rank(variant.quant));
    take([best](const Variant& variant) { return quant_rank(variant.quant) == best; });
  } else {
    take([quant](const Variant& variant) { return variant.quant == quant; });
    take([quant](const Variant& variant) { return variant.quant == "UD-" + std::string(quant); });
    // A word of the file's name that the list above does not know.
    take([quant](const Variant& variant) {
      return find_word(upper(split_name(variant.files.front().path).stem), quant).has_value();
    });
  }
  if (fitting.empty()) {
    return Error{Code::kNotFound,
                 fmt::format("{} has no {}, found {}", where, quant, listed(variants))};
  }
  if (fitting.size() > 1) {
    std::vector<std::string> paths;
    for (const Variant* variant : fitting) paths.push_back(variant->files.front().path);
    if (paths.size() > 10) paths.resize(10);
    return Error{Code::kInvalid,
                 fmt::format("{} has several models that fit: name one file, as {}/{}, of {}",
                             where, where, paths.front(), fmt::join(paths, ", "))};
  }
  return *fitting.front();
}

}  // namespace ration
