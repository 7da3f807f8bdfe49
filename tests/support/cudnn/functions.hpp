#pragma once
/// The functions of cudnn::entries(), defined in a build with cuDNN.

#include <cstddef>
#include <string>

#include "kernels/scratch.hpp"
#include "support/cudnn/cudnn.hpp"

namespace refrain::kernels::cudnn {

void causal_conv_forward(const CausalConvForward& args, Scratch& scratch);
std::size_t forward_plan_bytes(const CausalConvForward& args, const std::string& device);
void causal_conv_backward(const CausalConvBackward& args, Scratch& scratch);
std::size_t backward_plan_bytes(const CausalConvBackward& args, const std::string& device);
void lstm_layer(const LstmLayer& args, Scratch& scratch);
std::size_t lstm_reserve_bytes(const LstmLayer& args);
void lstm_layer_backward(const LstmLayerBackward& args, Scratch& scratch);
void lstm_forward(const LstmForward& args, Scratch& scratch);
void lstm_backward(const LstmBackwardFromInputs& args, Scratch& scratch);

}  // namespace refrain::kernels::cudnn
