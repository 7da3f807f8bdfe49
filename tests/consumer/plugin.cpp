// A user's shared library with hidden symbols, which uses the same Refrain as the program
// (host.cpp).
#include <refrain/autograd/tape.hpp>

__attribute__((visibility("default"))) bool plugin_records();
__attribute__((visibility("default"))) void plugin_refuses();

bool plugin_records() { return refrain::NoGrad::is_recording(); }
void plugin_refuses() { throw refrain::ShapeError("plugin"); }
