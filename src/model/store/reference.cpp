#include "model/store/reference.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "base/text.h"

namespace ration {
namespace {

constexpr size_t kReferenceBytesMax = 4096;
constexpr int kPackagesMax = 256;
constexpr size_t kFileNameMax = 200;  // leaves room for an ending below the usual 255

bool is_letter_or_digit(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

// Letters, digits and `others`, starting with a letter or digit: nothing that a command line could
// take for an option, and no path separators unless they are among `others`.
bool is_word(std::string_view text, std::string_view others) {
  return !text.empty() && is_letter_or_digit(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return is_letter_or_digit(c) || others.find(c) != std::string_view::npos;
         });
}

// A path inside a repository: relative, without empty, "." or ".." components.
bool is_relative_path(std::string_view text) {
  while (!text.empty()) {
    const size_t slash = text.find('/');
    const std::string_view part = text.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
  return false;
}

Error invalid(std::string_view text, std::string_view why) {
  return Error{Code::kInvalid, fmt::format("'{}' is not a model reference: {}", text, why)};
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

// Splits at the first `separator`; the second half is "" when there is none.
std::pair<std::string_view, std::string_view> cut(std::string_view text, char separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

Result<Reference> parse_path(std::string_view text) {
  Reference reference{.kind = Reference::Kind::kPath};
  if (text == "~" || text.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    if (!home || !*home) return invalid(text, "it begins with '~' but HOME is not set");
    reference.path =
        std::filesystem::path(home) / std::string(text.substr(std::min<size_t>(2, text.size())));
  } else {
    reference.path = std::string(text);
  }
  reference.text = reference.path.string();
  return reference;
}

// user/repo[@revision][:quant] or user/repo[@revision]/dir/x.gguf
Result<Reference> parse_hub(std::string_view text, std::string_view body) {
  Reference reference{.kind = Reference::Kind::kHub};
  const size_t slash = body.find('/');
  if (slash == std::string_view::npos) return invalid(text, "wanted hf:user/repo");
  size_t end = body.find_first_of("@:/", slash + 1);
  const std::string_view repository = body.substr(0, end);
  std::string_view rest = end == std::string_view::npos ? "" : body.substr(end);
  if (!is_word(repository.substr(0, slash), "-_.") ||
      !is_word(repository.substr(slash + 1), "-_.")) {
    return invalid(text, "wanted hf:user/repo");
  }
  HubSource& hub = reference.hub;
  hub.repository = repository;
  hub.revision = "main";
  if (rest.starts_with('@')) {
    end = rest.find_first_of(":/", 1);
    const std::string_view revision = rest.substr(1, end == std::string_view::npos ? end : end - 1);
    if (!is_word(revision, "-_.")) return invalid(text, "the revision after '@' is not a word");
    hub.revision = revision;
    rest = end == std::string_view::npos ? "" : rest.substr(end);
  }
  if (rest.starts_with(':')) {
    if (!is_word(rest.substr(1), "-_.")) return invalid(text, "the quant after ':' is not a word");
    hub.quant = upper(rest.substr(1));
  } else if (!rest.empty()) {
    hub.file = rest.substr(1);
    if (!is_relative_path(hub.file) || !hub.file.ends_with(".gguf")) {
      return invalid(text, "what follows the repository is not the path of a .gguf file");
    }
  }
  reference.text = "hf:" + hub.repository + (hub.revision == "main" ? "" : "@" + hub.revision) +
                   (hub.quant.empty() ? "" : ":" + hub.quant) +
                   (hub.file.empty() ? "" : "/" + hub.file);
  return reference;
}

Result<Reference> parse_url(std::string_view text) {
  Reference reference{.kind = Reference::Kind::kUrl};
  const auto [url, fragment] = cut(text, '#');
  const std::string_view after_scheme = url.substr(url.find("://") + 3);
  if (cut(after_scheme, '/').first.empty()) return invalid(text, "it names no host");
  for (const char c : url) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) {
      return invalid(text, "it contains a space or control character");
    }
  }
  reference.url = url;
  reference.text = url;
  if (!fragment.empty()) {
    if (!fragment.starts_with("sha256=") || !is_sha256(fragment.substr(7))) {
      return invalid(text, "what follows '#' is not sha256= and 64 hex digits");
    }
    reference.sha256 = fragment.substr(7);
    reference.text = text;
  }
  return reference;
}

std::optional<int> small_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// Replaces one {a..b} by each number in turn.
Result<std::vector<std::string>> expand(std::string_view text, std::string_view part) {
  const size_t open = part.find('{');
  if (open == std::string_view::npos) return std::vector<std::string>{std::string(part)};
  const size_t close = part.find('}', open);
  const std::string_view range =
      close == std::string_view::npos ? "" : part.substr(open + 1, close - open - 1);
  const size_t dots = range.find("..");
  if (dots == std::string_view::npos) return invalid(text, "wanted a range such as {1..4}");
  const std::optional<int> first = small_number(range.substr(0, dots));
  const std::optional<int> last = small_number(range.substr(dots + 2));
  if (!first || !last || *last < *first || *last - *first >= kPackagesMax) {
    return invalid(text, fmt::format("the range {{{}}} does not rise or is too long", range));
  }
  std::vector<std::string> parts;
  for (int number = *first; number <= *last; ++number) {
    parts.push_back(fmt::format("{}{}{}", part.substr(0, open), number, part.substr(close + 1)));
  }
  return parts;
}

// name==version[,name==version...][#glob]
Result<Reference> parse_pip(std::string_view text, std::string_view body) {
  Reference reference{.kind = Reference::Kind::kPip};
  auto [packages, pattern] = cut(body, '#');
  reference.pip.pattern = pattern.empty() ? "*.gguf" : pattern;
  if (reference.pip.pattern.size() > 256 ||
      std::any_of(pattern.begin(), pattern.end(), [](char c) { return c >= 0 && c < ' '; })) {
    return invalid(text, "the pattern after '#' is too long or holds control characters");
  }
  reference.text = fmt::format("pip:{}#{}", packages, reference.pip.pattern);
  for (std::string_view rest = pattern; pattern.find(',') != std::string_view::npos;) {
    const auto [file, others] = cut(rest, ',');
    if (!is_word(file, "-_.")) {
      return invalid(text, fmt::format("found '{}' in a list of files, wanted a name", file));
    }
    reference.pip.files.emplace_back(file);
    if (others.empty()) break;
    rest = others;
  }
  while (!packages.empty()) {
    const auto [one, rest] = cut(packages, ',');
    packages = rest;
    Result<std::vector<std::string>> expanded = expand(text, one);
    if (!expanded) return expanded.error();
    for (std::string& package : *expanded) {
      const size_t equals = package.find("==");
      if (equals == std::string::npos || !is_word(package.substr(0, equals), "-_.") ||
          !is_word(package.substr(equals + 2), "-_.+!")) {
        return invalid(text, fmt::format("found '{}', wanted name==version", package));
      }
      reference.pip.packages.push_back(std::move(package));
    }
    if (reference.pip.packages.size() > kPackagesMax) {
      return invalid(text, fmt::format("more than {} packages", kPackagesMax));
    }
  }
  if (reference.pip.packages.empty()) return invalid(text, "wanted pip:name==version");
  if (!reference.pip.files.empty() && reference.pip.packages.size() > 1) {
    return invalid(text, "files of their own come from one package");
  }
  return reference;
}

// name[:tag], where name may carry a host and a user: [host/][user/]name
Result<Reference> parse_ollama(std::string_view text, std::string_view body) {
  Reference reference{.kind = Reference::Kind::kOllama};
  const size_t colon = body.rfind(':');
  const bool has_tag =
      colon != std::string_view::npos && body.find('/', colon) == std::string_view::npos;
  const std::string_view name = has_tag ? body.substr(0, colon) : body;
  const std::string_view tag = has_tag ? body.substr(colon + 1) : "latest";
  if (!is_word(name, "-_./:") || !is_relative_path(name) || !is_word(tag, "-_.")) {
    return invalid(text, "wanted ollama:name:tag");
  }
  reference.ollama = fmt::format("{}:{}", name, tag);
  reference.text = "ollama:" + reference.ollama;
  return reference;
}

}  // namespace

Result<Reference> parse_reference(std::string_view text) {
  if (text.empty()) return Error{Code::kInvalid, "the model reference is empty"};
  if (text.size() > kReferenceBytesMax) {
    return Error{Code::kInvalid,
                 fmt::format("the model reference is {} bytes long, wanted at most {}", text.size(),
                             kReferenceBytesMax)};
  }
  if (text.find('\0') != std::string_view::npos) {
    return Error{Code::kInvalid, "the model reference contains a zero byte"};
  }
  const auto after = [text](std::string_view prefix) { return text.substr(prefix.size()); };
  if (text.starts_with("http://") || text.starts_with("https://")) return parse_url(text);
  if (text.starts_with("hf:")) return parse_hub(text, after("hf:"));
  if (text.starts_with("pip:")) return parse_pip(text, after("pip:"));
  if (text.starts_with("ollama:")) return parse_ollama(text, after("ollama:"));
  if (const size_t scheme = text.find("://"); scheme != std::string_view::npos) {
    return invalid(
        text, fmt::format("found the scheme '{}', wanted http or https", text.substr(0, scheme)));
  }
  if (text.front() == '/' || text.front() == '.' || text.front() == '~' ||
      text.ends_with(".gguf") || text.ends_with(".safetensors")) {
    return parse_path(text);
  }
  Reference reference{.kind = Reference::Kind::kName};
  reference.text = text;
  return reference;
}

std::string local_name(const Reference& reference) {
  switch (reference.kind) {
    case Reference::Kind::kUrl: {
      std::string_view name = reference.url;
      name = name.substr(0, name.find('?'));
      name = name.substr(name.rfind('/') + 1);
      if (name.ends_with(".gguf")) name.remove_suffix(5);
      return is_word(name, "-_.") ? std::string(name) : reference.text;
    }
    case Reference::Kind::kPip: {
      const std::string& first = reference.pip.packages.front();
      return first.substr(0, first.find("=="));
    }
    default:
      return reference.text;
  }
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string file_name_for(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_letter_or_digit(c) || c == '_' || c == '-' || (c == '.' && !out.empty())) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  if (out.size() <= kFileNameMax) return out;
  return fmt::format("{}-{:016x}", out.substr(0, kFileNameMax - 17), fnv1a(text));
}

}  // namespace ration
