/// The file format against handwritten bytes, and against every kind of damage.

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "refrain/core/detail/xxh64.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/safetensors.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// A file from length, header and data.
std::string file_bytes(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i)
    bytes[i] = static_cast<char>((header.size() >> (8 * i)) & 255);
  return bytes + header + data;
}

std::string reason(const std::string& path) {
  try {
    read_safetensors(path);
  } catch (const DataError& error) {
    return error.what();
  }
  return "accepted";
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  return names;
}

SafetensorsFile sample() {
  return {
      .tensors = {{"a", Tensor::from<float>({2, 2}, {1, -2, 0.5f, 3})},
                  {"b", Tensor::from<double>({}, {2.5})},
                  {"empty", Tensor({0, 3}, DType::f32)},
                  {"ids", Tensor::from<std::int32_t>({3}, {1, -1, 7})},
                  {"long \"name\" \xC3\xA9", Tensor::from<std::int64_t>({1, 1}, {-5'000'000'000})}},
      .metadata = {{"note", "two\nlines, \xE2\x82\xAC"}, {"empty", ""}}};
}

}  // namespace

TEST_CASE("safetensors: reads a file written by hand", "[train][safetensors]") {
  const ScratchFolder folder;
  const std::string header =
      R"({"__metadata__":{"k":"v \u00e9"},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("n":{"shape":[],"dtype":"I64","data_offsets":[8,16]},"z":{"dtype":"I32","shape":[5,0],"data_offsets":[8,8]}}   )";
  const std::string data("\x00\x00\x80\x3F\x00\x00\x20\xC1\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 16);
  const std::string path = folder.write("hand.safetensors", file_bytes(header, data));
  const SafetensorsFile file = read_safetensors(path);
  CHECK(file.tensors.size() == 3);
  CHECK(file.tensors.at("x").shape() == Shape{2});
  CHECK(file.tensors.at("x").data<float>()[0] == 1.0f);
  CHECK(file.tensors.at("x").data<float>()[1] == -10.0f);
  CHECK(file.tensors.at("n").rank() == 0);
  CHECK(*file.tensors.at("n").data<std::int64_t>() == -2);
  CHECK(file.tensors.at("z").shape() == Shape{5, 0});
  CHECK(file.metadata == Metadata{{"k", "v \xC3\xA9"}});
  CHECK(read_safetensors_metadata(path) == file.metadata);
}

TEST_CASE("safetensors: writes exactly these bytes", "[train][safetensors]") {
  const ScratchFolder folder;
  const std::string path = folder.path("out.safetensors");
  write_safetensors(path, {.tensors = {{"i", Tensor::from<std::int32_t>({1}, {258})},
                                       {"n", Tensor::from<double>({1}, {1})}},
                           .metadata = {}});
  std::string header =
      R"({"i":{"data_offsets":[8,12],"dtype":"I32","shape":[1]},"n":{"data_offsets":[0,8],"dtype":"F64","shape":[1]}})";
  while (header.size() % 8 != 0) header += ' ';
  CHECK(read_file(path) == file_bytes(header, std::string("\0\0\0\0\0\0\xF0\x3F\x02\x01\0\0", 12)));
}

TEST_CASE("safetensors: a file is read, and written again with the same bytes",
          "[train][safetensors]") {
  const ScratchFolder folder;
  const SafetensorsFile file = sample();
  const std::string path = folder.path("a.safetensors");
  write_safetensors(path, file);
  const SafetensorsFile back = read_safetensors(path);
  CHECK(back.metadata == file.metadata);
  REQUIRE(back.tensors.size() == file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) CHECK(same_bytes(back.tensors.at(name), tensor));
  write_safetensors(folder.path("b.safetensors"), back);
  CHECK(read_file(path) == read_file(folder.path("b.safetensors")));
  CHECK(names_in(folder.path("")).size() == 2);  // no temporary files
}

TEST_CASE("safetensors: a slice is written as its own elements", "[train][safetensors]") {
  const ScratchFolder folder;
  const Tensor whole = Tensor::from<float>({3, 2}, {1, 2, 3, 4, 5, 6});
  write_safetensors(folder.path("s"), {.tensors = {{"row", whole.slice(1, 2)}}, .metadata = {}});
  CHECK(doubles(read_safetensors(folder.path("s")).tensors.at("row")) == std::vector<double>{3, 4});
}

TEST_CASE("safetensors: malformed headers are refused with the reason", "[train][safetensors]") {
  const ScratchFolder folder;
  const std::string four(4, '\1');
  const auto tensor = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return R"({"x":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}}";
  };
  const auto check = [&](const std::string& bytes, const std::string& expected) {
    const std::string got = reason(folder.write("bad", bytes));
    INFO(got);
    CHECK(got.find(expected) != std::string::npos);
    CHECK(got.find("bad") != std::string::npos);  // names the file
  };
  REQUIRE(reason(folder.write("good", file_bytes(tensor("\"F32\"", "[1]", "[0,4]"), four))) ==
          "accepted");

  check("", "0 bytes");
  check("1234567", "7 bytes");
  check(std::string(8, '\0'), "not a JSON object");
  check(std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F{}", 10), "truncated");
  check(std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10), "truncated");
  check(file_bytes("[]", ""), "not a JSON object");
  check(file_bytes("{\"x\":", ""), "not valid JSON");
  check(file_bytes("{} x", ""), "not valid JSON");
  check(file_bytes("{\"\xFF\":1}", ""), "not valid JSON");
  check(file_bytes(R"({"x":1})", ""), "expected an object, got number");
  check(file_bytes(R"({"x":[1]})", ""), "expected arrays in the header only as");
  check(file_bytes(R"({"x":{"dtype":{}}})", ""), "nested too deeply");
  check(file_bytes(R"({"x":{"shape":[[1]]}})", ""), "expected arrays in the header only as");
  check(file_bytes(std::string(100, '{'), ""), "not valid JSON");
  check(file_bytes(R"({"a":)" + std::string(100000, '['), ""),
        "expected arrays in the header only as");
  check(file_bytes(R"({"x":{"dtype":"F32","shape":[1]}})", four), "exactly dtype");
  check(file_bytes(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}})", four),
        "exactly dtype");
  check(file_bytes(R"({"x":{"dtype":"F32","shape":[1],"offsets":[0,4]}})", four),
        "no data_offsets");
  check(file_bytes(tensor("\"F16\"", "[2]", "[0,4]"), four), "F32, F64, I32 or I64, got 'F16'");
  check(file_bytes(tensor("7", "[1]", "[0,4]"), four), "expected a text as dtype, got number");
  check(file_bytes(tensor("\"F32\"", "1", "[0,4]"), four),
        "expected an array as shape, got number");
  check(file_bytes(tensor("\"F32\"", "[-1]", "[0,4]"), four),
        "expected whole numbers in shape, got -1");
  check(file_bytes(tensor("\"F32\"", "[1.0]", "[0,4]"), four), "expected whole numbers in shape");
  check(file_bytes(tensor("\"F32\"", "[true]", "[0,4]"), four), "expected whole numbers in shape");
  check(file_bytes(tensor("\"F32\"", "[18446744073709551615]", "[0,4]"), four),
        "expected whole numbers in shape");
  check(file_bytes(tensor("\"F32\"", "[99999999999999999999]", "[0,4]"), four),
        "expected whole numbers in shape");
  check(file_bytes(tensor("\"F32\"", "[4294967296,4294967296]", "[0,4]"), four),
        "does not fit 64 bits");
  check(file_bytes(tensor("\"F32\"", "[9223372036854775807,9223372036854775807,0]", "[0,0]"), ""),
        "does not fit 64 bits");
  check(file_bytes(tensor("\"F32\"", "[4611686018427387905]", "[0,4]"), four),
        "but 4 bytes");  // times 4 wraps to 4
  check(file_bytes(tensor("\"F32\"", "[1,1,1,1,1,1,1]", "[0,4]"), four), "rank 7");
  check(file_bytes(tensor("\"F32\"", "[2]", "[0,4]"), four), "but 4 bytes");
  check(file_bytes(tensor("\"F64\"", "[1]", "[0,4]"), four), "but 4 bytes");
  check(file_bytes(tensor("\"F32\"", "[1]", "[4,0]"), four), "smaller first, got [4,0]");
  check(file_bytes(tensor("\"F32\"", "[1]", "[0]"), four), "two data_offsets");
  check(file_bytes(tensor("\"F32\"", "[1]", "[4,8]"), four + four), "byte 0, got byte 4");
  check(file_bytes(tensor("\"F32\"", "[1]", "[0,4]"), four + "x"), "something follows");
  check(file_bytes(tensor("\"F32\"", "[1]", "[0,4]"), "xyz"), "truncated");
  check(file_bytes(tensor("\"F32\"", "[1000000000000]", "[0,4000000000000]"), four),
        "truncated");  // not allocated
  const std::string y = R"("y":{"dtype":"F32","shape":[1],"data_offsets":)";
  const std::string x = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)";
  check(file_bytes(x + y + "[0,4]}}", four),
        "'y': expected its data to begin at byte 4, got byte 0");
  check(file_bytes(x + y + "[5,9]}}", four + four + "x"), "byte 4, got byte 5");
  check(file_bytes(x + R"("x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four + four),
        "'x' twice");
  check(file_bytes(R"({"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four),
        "'dtype' twice");
  check(file_bytes(R"({"__metadata__":{"a":"1","a":"2"}})", ""), "'a' twice");
  check(file_bytes(tensor("\"F32\"", "[1e999]", "[0,4]"), four),
        "not valid JSON");  // past any number
  check(file_bytes(R"({"__metadata__":{"a":1}})", ""),
        "expected a text as __metadata__ 'a', got number");
  check(file_bytes(R"({"__metadata__":"a"})", ""),
        "expected __metadata__ to be an object, got string");
}

TEST_CASE(
    "safetensors: a truncated file or one with a flipped bit is refused or read, without a crash",
    "[train][safetensors]") {
  const ScratchFolder folder;
  write_safetensors(folder.path("good"), sample());
  const std::string good = read_file(folder.path("good"));
  for (std::size_t size = 0; size < good.size(); ++size) {
    CHECK(reason(folder.write("bad", good.substr(0, size))) != "accepted");
  }
  const std::size_t header_end = good.size() - 4 * 4 - 8 - 3 * 4 - 8;
  std::size_t refused = 0;
  for (std::size_t at = 0; at < header_end; ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    refused += reason(folder.write("bad", bad)) != "accepted"
                   ? 1u
                   : 0u;  // letters of names may change undetected
  }
  CHECK(refused > header_end / 2);
}

TEST_CASE("safetensors: a path that is not a regular file is refused", "[train][safetensors]") {
  const ScratchFolder folder;
  CHECK_THROWS_MATCHES(read_safetensors(folder.path("absent")), DataError,
                       message_contains("No such file"));
  CHECK_THROWS_MATCHES(read_safetensors(folder.path("")), DataError,
                       message_contains("not a regular file"));
  CHECK_THROWS_MATCHES(read_safetensors("/dev/zero"), DataError,
                       message_contains("not a regular file"));
}

TEST_CASE("safetensors: a write that fails leaves only the old file", "[train][safetensors]") {
  const ScratchFolder folder;
  const std::string path = folder.path("model");
  write_safetensors(path, sample());
  const std::string before = read_file(path);

  SECTION("a full disk") {
    rlimit limit = {};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    const rlim_t usual = limit.rlim_cur;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = 4096;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    std::string error;
    try {
      write_safetensors(
          path, {.tensors = {{"big", Tensor::zeros({100000}, DType::f32)}}, .metadata = {}});
    } catch (const DataError& caught) {
      error = caught.what();
    }
    limit.rlim_cur = usual;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK_THAT(error, contains("cannot be written: File too large"));
  }
  SECTION("text that is not UTF-8") {
    SafetensorsFile file = sample();
    file.metadata["bad"] = "\xFF";
    CHECK_THROWS_MATCHES(write_safetensors(path, file), DataError, message_contains("UTF-8"));
  }
  SECTION("an undefined tensor") {
    CHECK_THROWS_AS(write_safetensors(path, {.tensors = {{"x", Tensor()}}, .metadata = {}}),
                    DataError);
  }
  SECTION("a missing folder") {
    CHECK_THROWS_AS(write_safetensors(folder.path("none/model"), sample()), DataError);
  }
  SECTION("a pipe with this name") {
    REQUIRE(mkfifo(folder.path("pipe").c_str(), 0600) == 0);
    CHECK_THROWS_MATCHES(write_safetensors(folder.path("pipe"), sample()), DataError,
                         message_contains("not a regular file"));
    CHECK(std::filesystem::is_fifo(folder.path("pipe")));
    std::filesystem::remove(folder.path("pipe"));
  }
  SECTION("a folder with this name") {
    std::filesystem::create_directory(folder.path("taken"));
    CHECK_THROWS_AS(write_safetensors(folder.path("taken"), sample()), DataError);
    std::filesystem::remove(folder.path("taken"));
  }
  CHECK(read_file(path) == before);
  CHECK(names_in(folder.path("")) == std::vector<std::string>{"model"});
}

TEST_CASE("safetensors: a write removes the temporary file of a killed process, and only that",
          "[train][safetensors]") {
  const ScratchFolder folder;
  const std::string path = folder.path("model");
  for (int serial = 0; serial < 500; ++serial)
    folder.write(detail::concat("model.", getpid(), ".", serial, ".tmp"), "half");
  // Files with other names or of other kinds; and one that another process is writing.
  std::vector<std::string> kept{
      "model.tmp", "model.1.tmp", "model.1.2.tmp.old", "model.x.2.tmp", "model.1.x.tmp",
      "1.2.tmp",   ".1.2.tmp",    "other.1.2.tmp",     "model.bak",     "model.1..tmp"};
  for (const std::string& name : kept) folder.write(name, "theirs");
  std::filesystem::create_symlink("model.bak", folder.path("model.7.7.tmp"));
  REQUIRE(mkfifo(folder.path("model.8.8.tmp").c_str(), 0600) == 0);
  const int writing = ::open(folder.write("model.9.9.tmp", "in use").c_str(), O_WRONLY);
  REQUIRE(::flock(writing, LOCK_EX | LOCK_NB) == 0);
  kept.insert(kept.end(), {"model.7.7.tmp", "model.8.8.tmp", "model.9.9.tmp", "model"});
  write_safetensors(path, sample());
  CHECK(read_safetensors(path).metadata == sample().metadata);
  std::vector<std::string> left = names_in(folder.path(""));
  std::sort(left.begin(), left.end());
  std::sort(kept.begin(), kept.end());
  CHECK(left == kept);
  CHECK(read_file(folder.path("model.tmp")) == "theirs");
  ::close(writing);
  write_safetensors(path, sample());
  CHECK_FALSE(std::filesystem::exists(folder.path("model.9.9.tmp")));
}

TEST_CASE("safetensors: many writers of one file leave one complete file", "[train][safetensors]") {
  const ScratchFolder folder;
  const std::string path = folder.path("model");
  std::vector<std::thread> writers;
  std::atomic<int> failed{0};
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([&, w] {
      for (int round = 0; round < 20; ++round) {
        try {
          write_safetensors(
              path, {.tensors = {{"x", Tensor::full({1000}, w, DType::f32)}}, .metadata = {}});
          const Tensor x = read_safetensors(path).tensors.at("x");
          const std::span<const float> all = std::as_const(x).span<float>();
          if (!std::equal(all.begin() + 1, all.end(), all.begin())) ++failed;
        } catch (const std::exception&) {
          ++failed;
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  CHECK(failed == 0);
  CHECK(names_in(folder.path("")) == std::vector<std::string>{"model"});
}

TEST_CASE("safetensors: replacing keeps permissions and follows links", "[train][safetensors]") {
  namespace fs = std::filesystem;
  const ScratchFolder folder;
  write_safetensors(folder.path("model"), sample());
  fs::permissions(folder.path("model"), fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("model", folder.path("link"));
  write_safetensors(folder.path("link"), {.tensors = {}, .metadata = {{"new", "1"}}});
  CHECK(fs::is_symlink(folder.path("link")));
  CHECK(read_safetensors(folder.path("model")).metadata.count("new") == 1);
  CHECK(fs::status(folder.path("model")).permissions() ==
        (fs::perms::owner_read | fs::perms::owner_write));
}

TEST_CASE("content_hash: XXH64 gives the published values", "[train][hash]") {
  const auto hash = [](const std::string& text, std::uint64_t seed) {
    detail::Xxh64 out(seed);
    out.update(text.data(), text.size());
    return out.digest();
  };
  CHECK(hash("", 0) == 0xEF46DB3751D8E999u);
  CHECK(hash("a", 0) == 0xD24EC4F1A98C6E5Bu);
  CHECK(hash("abc", 0) == 0x44BC2CF5AD770999u);
  CHECK(hash("xxhash", 20141025) == 0xB559B98D844E0635u);
  CHECK(hash("Nobody inspects the spammish repetition", 0) == 0xFBCEA83C8A378BF1u);

  std::string text;
  for (int i = 0; i < 300; ++i) text.push_back(static_cast<char>(i * 7));
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    detail::Xxh64 parts;
    parts.update(text.data(), cut);
    parts.update(text.data() + cut, text.size() - cut);
    CHECK(parts.digest() == hash(text, 0));
  }
}

TEST_CASE("content_hash: depends on names, shapes, types, elements and texts", "[train][hash]") {
  const Tensor x = Tensor::from<float>({2, 2}, {1, 2, 3, 4});
  const std::string base = content_hash({{"x", x}}, {{"k", "v"}});
  CHECK(base.size() == 16);
  CHECK(base == content_hash({{"x", x.clone()}}, {{"k", "v"}}));
  Tensor changed = x.clone();
  changed.data<float>()[3] = 5;
  for (const std::string& other :
       {content_hash({{"y", x}}, {{"k", "v"}}), content_hash({{"x", x.reshape({4})}}, {{"k", "v"}}),
        content_hash({{"x", changed}}, {{"k", "v"}}), content_hash({{"x", x}}, {{"k", "w"}}),
        content_hash({{"x", x}}), content_hash({{"x", x.to(DType::i32)}}, {{"k", "v"}}),
        content_hash({{"x", x}}, {{"kv", ""}})}) {
    CHECK(other != base);
  }
}
