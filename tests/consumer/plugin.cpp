// A shared library of a user's, which uses the Refrain that the program uses (host.cpp), with its
// own symbols hidden.
#include <refrain/autograd/tape.hpp>

__attribute__((visibility("default"))) bool plugin_records();
__attribute__((visibility("default"))) void plugin_refuses();

bool plugin_records() { return refrain::NoGrad::is_recording(); }
void plugin_refuses() { throw refrain::ShapeError("plugin"); }
