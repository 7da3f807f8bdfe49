#!/usr/bin/env python3
"""Finds names that are defined twice with different bodies.

An inline function, a template or an inline variable may be defined in many object files, and the linker keeps one definition of each
name without comparing them. If two headers define one name differently, link order decides which body runs. Optimized code hides
the error, since each file inlines its own body; therefore the files are compiled with -O0 and each such definition is compared byte
by byte, including its relocations, in all files that contain it.

Exits with 1 when two definitions differ, or when no object file has a definition to compare.
Usage: tests/checks/odr.py BUILD_FOLDER      compares the object files of the library in a build with -O0 (CMAKE_BUILD_TYPE=Debug)
       tests/checks/odr.py FILE.o...         compares these object files
       tests/checks/odr.py                   compiles src/ and kernels/ for the CPU with $CXX -O0 and compares the results
"""

import concurrent.futures
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_GROUP, SHT_SYMTAB_SHNDX = 1, 2, 4, 8, 17, 18
SHF_ALLOC, SHF_MERGE, SHF_STRINGS = 2, 0x10, 0x20
STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = 0, 1, 2, 10
STT_SECTION = 3


class ObjectFile:
    """The parts of a 64-bit little-endian ELF object file that hold definitions."""

    def __init__(self, path):
        self.path = path
        self.data = data = pathlib.Path(path).read_bytes()
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: expected a 64-bit little-endian ELF object file")
        start, = struct.unpack_from("<Q", data, 0x28)
        size, count, names = struct.unpack_from("<HHH", data, 0x3A)
        first = struct.unpack_from("<IIQQQQIIQQ", data, start)
        count = count or first[5]  # with many sections the first one's size is their number
        names = first[6] if names == 0xFFFF else names
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
        self.names = [self.string(names, section[0]) for section in self.sections]
        self.symbols, self.relocations, self.grouped, far = [], {}, set(), b""
        for index, section in enumerate(self.sections):
            if section[1] == SHT_SYMTAB_SHNDX:
                far = self.content(index)
        for index, section in enumerate(self.sections):
            content = self.content(index)
            if section[1] == SHT_SYMTAB:
                for i in range(len(content) // 24):
                    name, info, _, where, value, length = struct.unpack_from("<IBBHQQ", content, 24 * i)
                    if where == 0xFFFF:
                        where, = struct.unpack_from("<I", far, 4 * i)
                    self.symbols.append((self.string(section[6], name), info >> 4, info & 15, where, value, length))
            elif section[1] == SHT_RELA:
                self.relocations[section[7]] = [struct.unpack_from("<QQq", content, at) for at in range(0, len(content), 24)]
            elif section[1] == SHT_GROUP:
                self.grouped.update(struct.unpack_from(f"<{len(content) // 4 - 1}I", content, 4))

    def string(self, table, offset):
        begin = self.sections[table][4] + offset
        return self.data[begin:self.data.index(b"\0", begin)].decode()

    def content(self, index):
        section = self.sections[index]
        return b"" if section[1] == SHT_NOBITS else self.data[section[4]:section[4] + section[5]]

    def target(self, symbol, addend):
        """The target of a relocation as text that is the same in every file."""
        name, binding, kind, where, value, _ = self.symbols[symbol]
        if binding != STB_LOCAL:
            return name, addend
        if where == 0 or where >= len(self.sections):
            return name, addend
        flags = self.sections[where][2]
        if flags & SHF_MERGE:  # addresses of constants and strings differ between files: compare their contents
            offset = value + addend + (0 if flags & SHF_STRINGS else 4)
            content, width = self.content(where), self.sections[where][9]
            if flags & SHF_STRINGS:
                # A relative address counts from the end of its four bytes.
                text = content[max(0, offset + 4):]
                return "string", text[:text.index(b"\0")] if b"\0" in text else text
            return "constant", content[offset:offset + width]
        return (self.names[where] if kind == STT_SECTION else name), None

    def definitions(self):
        """(name, body) of each definition that other files may also contain."""
        for name, binding, _, where, value, length in self.symbols:
            if "7refrain" not in name or binding not in (STB_WEAK, STB_GNU_UNIQUE) or not 0 < where < len(self.sections) or where not in self.grouped:
                continue
            section = self.sections[where]
            if section[1] not in (SHT_PROGBITS, SHT_NOBITS) or not section[2] & SHF_ALLOC:
                continue
            code = self.content(where)[value:value + length]
            links = tuple((offset - value, kind & 0xFFFFFFFF, self.target(kind >> 32, addend))
                          for offset, kind, addend in self.relocations.get(where, ()) if value <= offset < value + length)
            yield name, (length, code, links)


def compiled(folder):
    root = pathlib.Path(__file__).resolve().parents[2]
    compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
    eigen = [f"-isystem{path}" for path in os.environ.get("EIGEN3_INCLUDE_DIR", "/usr/include/eigen3").split(":")]
    sources = [source for pattern in ("src/*.cpp", "kernels/cpu_table.cpp", "kernels/*/cpu*.cpp") for source in sorted(root.glob(pattern))
               if not source.name.endswith("_cuda.cpp")]

    def run(source):
        target = folder / (source.relative_to(root).as_posix().replace("/", "_") + ".o")
        subprocess.run([compiler, "-std=c++20", "-O0", "-I", root / "include", "-I", root, *eigen, "-DEIGEN_DONT_PARALLELIZE",
                        "-DEIGEN_MPL2_ONLY", "-c", source, "-o", target], check=True)
        return target

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(run, sources))


def demangled(name):
    if not shutil.which("c++filt"):
        return name
    return subprocess.run(["c++filt", name], capture_output=True, text=True, check=True).stdout.strip()


def differences(objects):
    """name -> {body: files that have it}, for names with several bodies; and the number of names compared."""
    bodies = {}
    for path in objects:
        for name, body in ObjectFile(path).definitions():
            bodies.setdefault(name, {}).setdefault(body, []).append(path)
    return {name: found for name, found in bodies.items() if len(found) > 1}, len(bodies)


def main():
    with tempfile.TemporaryDirectory() as folder:
        given = [pathlib.Path(argument) for argument in sys.argv[1:]]
        if not given:
            objects = compiled(pathlib.Path(folder))
        elif given[0].is_dir():
            objects = sorted((given[0] / "CMakeFiles" / "refrain_objects.dir").rglob("*.o"))
        else:
            objects = given
        different, names = differences(objects)
    for name, found in sorted(different.items()):
        print(f"{demangled(name)}: {len(found)} different definitions")
        for body, files in found.items():
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            print(f"    {body[0]} bytes in {pathlib.Path(files[0]).name}{more}")
    print(f"{len(objects)} object files, {names} names, {len(different)} with different definitions")
    return 1 if different or names == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
