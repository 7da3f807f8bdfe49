#pragma once
// The description of the HTTP interface.

#include <string_view>

namespace refrain::serve {

/// An OpenAPI 3.0 document of the routes of HttpApi.
extern const std::string_view openapi;

}  // namespace refrain::serve
