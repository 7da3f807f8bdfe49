#include "src/capture_cuda.hpp"

#include <cstring>
#include <memory>
#include <utility>

#include "kernels/cuda_check.hpp"

namespace refrain::cuda {
namespace {

thread_local Capture* open = nullptr;

void count_operations(cudaGraph_t graph, Capture& recording) {
  std::size_t count = 0;
  check(cudaGraphGetNodes(graph, nullptr, &count), "cudaGraphGetNodes");
  std::vector<cudaGraphNode_t> nodes(count);
  if (count > 0) check(cudaGraphGetNodes(graph, nodes.data(), &count), "cudaGraphGetNodes");
  recording.operations = static_cast<std::int64_t>(count);
  recording.kernels = 0;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    check(cudaGraphNodeGetType(node, &type), "cudaGraphNodeGetType");
    if (type == cudaGraphNodeTypeKernel) ++recording.kernels;
  }
}

cudaError_t end_capture(Capture& recording, cudaGraph_t* graph) noexcept {
  open = nullptr;
  recording.is_open = false;
  const cudaError_t status = cudaStreamEndCapture(recording.capture, graph);
  cudaStreamDestroy(std::exchange(recording.capture, nullptr));
  return status;
}

}  // namespace

Capture* open_capture() noexcept { return open; }

void expect_no_capture(const char* what) {
  if (open != nullptr) {
    throw DeviceError(detail::concat(
        what, ": this would wait for the device, which work that is being recorded cannot do"));
  }
}

Capture* begin_capture(cudaStream_t stream) {
  expect_no_capture("CapturedWork");
  auto recording = std::make_unique<Capture>();
  recording->stream = stream;
  check(cudaStreamCreateWithFlags(&recording->capture, cudaStreamNonBlocking),
        "cudaStreamCreateWithFlags");
  const cudaError_t status =
      cudaStreamBeginCapture(recording->capture, cudaStreamCaptureModeThreadLocal);
  if (status != cudaSuccess) cudaStreamDestroy(recording->capture);
  check(status, "cudaStreamBeginCapture");
  recording->is_open = true;
  open = recording.get();
  return recording.release();
}

void end_captured(Capture& recording) {
  cudaGraph_t graph = nullptr;
  check(end_capture(recording, &graph), "cudaStreamEndCapture");
  try {
    count_operations(graph, recording);
    check(cudaGraphInstantiate(&recording.exec, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphUpload(recording.exec, recording.stream), "cudaGraphUpload");
  } catch (...) {
    cudaGraphDestroy(graph);
    throw;
  }
  check(cudaGraphDestroy(graph), "cudaGraphDestroy");
}

void destroy_captured(Capture* recording) noexcept {
  if (recording->is_open) {
    cudaGraph_t graph = nullptr;
    if (end_capture(*recording, &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
  }
  // Its last run may still read the constants.
  cudaStreamSynchronize(recording->stream);
  if (recording->exec != nullptr) cudaGraphExecDestroy(recording->exec);
  for (void* constant : recording->constants) cudaFreeHost(constant);
  cudaGetLastError();
  delete recording;
}

const void* kept_constant(const void* from, std::size_t bytes) {
  const RelaxedCapture relaxed;
  open->constants.reserve(open->constants.size() + 1);
  void* copy = nullptr;
  check(cudaMallocHost(&copy, bytes), "cudaMallocHost");
  open->constants.push_back(copy);
  std::memcpy(copy, from, bytes);
  return copy;
}

}  // namespace refrain::cuda
