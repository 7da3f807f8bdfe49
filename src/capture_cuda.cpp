#include "src/capture_cuda.hpp"

#include <cstring>
#include <memory>
#include <utility>

#include "kernels/cuda_check.hpp"

namespace refrain::cuda {
namespace {

thread_local Capture* open = nullptr;

void count_operations(cudaGraph_t graph, Capture& captured) {
  std::size_t count = 0;
  check(cudaGraphGetNodes(graph, nullptr, &count), "cudaGraphGetNodes");
  std::vector<cudaGraphNode_t> nodes(count);
  if (count > 0) check(cudaGraphGetNodes(graph, nodes.data(), &count), "cudaGraphGetNodes");
  captured.operations = static_cast<std::int64_t>(count);
  captured.kernels = 0;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    check(cudaGraphNodeGetType(node, &type), "cudaGraphNodeGetType");
    if (type == cudaGraphNodeTypeKernel) ++captured.kernels;
  }
}

cudaError_t end_capture(Capture& captured, cudaGraph_t* graph) noexcept {
  open = nullptr;
  captured.is_open = false;
  const cudaError_t status = cudaStreamEndCapture(captured.capture, graph);
  cudaStreamDestroy(std::exchange(captured.capture, nullptr));
  return status;
}

}  // namespace

Capture* open_capture() noexcept { return open; }

void expect_no_capture(const char* what) {
  if (open != nullptr) {
    throw DeviceError(detail::concat(
        what, ": waits for the device, which a thread that captures a CUDA graph must not do"));
  }
}

Capture* begin_capture(cudaStream_t stream) {
  expect_no_capture("CapturedWork");
  auto captured = std::make_unique<Capture>();
  captured->stream = stream;
  check(cudaStreamCreateWithFlags(&captured->capture, cudaStreamNonBlocking),
        "cudaStreamCreateWithFlags");
  const cudaError_t status =
      cudaStreamBeginCapture(captured->capture, cudaStreamCaptureModeThreadLocal);
  if (status != cudaSuccess) cudaStreamDestroy(captured->capture);
  check(status, "cudaStreamBeginCapture");
  captured->is_open = true;
  open = captured.get();
  return captured.release();
}

void end_captured(Capture& captured) {
  cudaGraph_t graph = nullptr;
  check(end_capture(captured, &graph), "cudaStreamEndCapture");
  try {
    count_operations(graph, captured);
    check(cudaGraphInstantiate(&captured.exec, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphUpload(captured.exec, captured.stream), "cudaGraphUpload");
  } catch (...) {
    cudaGraphDestroy(graph);
    throw;
  }
  check(cudaGraphDestroy(graph), "cudaGraphDestroy");
}

void destroy_captured(Capture* captured) noexcept {
  if (captured->is_open) {
    cudaGraph_t graph = nullptr;
    if (end_capture(*captured, &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
  }
  // The last launch of the graph may still read the constants.
  cudaStreamSynchronize(captured->stream);
  if (captured->exec != nullptr) cudaGraphExecDestroy(captured->exec);
  for (void* constant : captured->constants) cudaFreeHost(constant);
  cudaGetLastError();
  delete captured;
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
