#pragma once
/// What a shared library shows. Everything is compiled with hidden visibility; REFRAIN_API is put
/// on what a user's program must find in the library: functions that are defined in a source file,
/// classes with such members, and, so that a program and the library have one of each, types of
/// exceptions, classes with virtual functions, and variables and counters of headers.

#if defined(__GNUC__)
#define REFRAIN_API __attribute__((visibility("default")))
#else
#define REFRAIN_API
#endif
