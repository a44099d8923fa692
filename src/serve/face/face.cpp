#include "serve/face/face.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"

namespace ration {

bool is_model_name(std::string_view name, const std::vector<std::string>& names) {
  constexpr std::string_view kLatest = ":latest";
  if (std::ranges::find(names, name) != names.end()) return true;
  if (!name.ends_with(kLatest)) return false;
  name.remove_suffix(kLatest.size());
  return std::ranges::find(names, name) != names.end();
}

std::variant<size_t, ApiError> find_model(
    std::string_view name, size_t count,
    const std::function<const std::vector<std::string>&(size_t model)>& names_of) {
  std::vector<std::string> all;
  for (size_t model = 0; model < count; ++model) {
    const std::vector<std::string>& names = names_of(model);
    if (is_model_name(name, names)) return model;
    all.insert(all.end(), names.begin(), names.end());
  }
  return unknown_model(name, all);
}

std::variant<const ModelView*, ApiError> find_model(std::string_view name,
                                                    std::span<const ModelView> models) {
  std::variant<size_t, ApiError> found = find_model(
      name, models.size(), [&](size_t model) -> auto& { return models[model].card.names; });
  if (ApiError* error = std::get_if<ApiError>(&found)) return std::move(*error);
  return &models[std::get<size_t>(found)];
}

ApiError unknown_model(std::string_view name, const std::vector<std::string>& names) {
  const std::string shown = to_valid_utf8(name.substr(0, 100));
  std::string hint = did_you_mean(shown, names);
  if (hint.empty()) hint = fmt::format("this server has '{}'", names.front());
  return {.status = 404,
          .type = "not_found_error",
          .code = "model_not_found",
          .message = fmt::format("there is no model '{}', {}", shown, hint),
          .param = "model"};
}

}  // namespace ration
