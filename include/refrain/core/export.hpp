#pragma once
/// Symbol visibility of the shared library. All code is compiled with hidden visibility.
/// REFRAIN_API marks what a program must find in the library: functions defined in source files and
/// classes with such members. It also marks what the program and the library must share: exception
/// types, classes with virtual functions, and variables of headers.

#if defined(__GNUC__)
#define REFRAIN_API __attribute__((visibility("default")))
#else
#define REFRAIN_API
#endif
