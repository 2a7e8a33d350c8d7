// Two operators of libtorch's autograd whose forward and backward passes are Rust functions on
// plain arrays: a recurrent layer over a whole sequence, and the output layer with its
// cross-entropy. operators.rs describes the arrays; both sides lay out the structs alike.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shim.h"

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

extern "C" {

struct TextgenLayer {
  int64_t cell, steps, positions, inputs, hidden;
  const int64_t* counts;
  const int64_t* symbols;
  const float *vectors, *constant, *weight_ih, *weight_hh, *bias_ih, *bias_hh, *h0, *c0;
  float *outputs, *h, *c, *gates, *units;
};

struct TextgenLayerGradients {
  const float *d_outputs, *d_h, *d_c;
  float *vectors, *constant, *weight_ih, *weight_hh, *bias_ih, *bias_hh, *h0, *c0;
};

struct TextgenLayerKernels {
  void (*forward)(const TextgenLayer*);
  void (*backward)(const TextgenLayer*, const TextgenLayerGradients*);
};

struct TextgenHead {
  int64_t positions, hidden, outputs;
  const float *vectors, *weight, *bias;
  const int64_t* targets;
  float *probabilities, *nats;
};

struct TextgenHeadGradients {
  const float* d_nats;
  float *vectors, *weight, *bias;
};

struct TextgenHeadKernels {
  void (*forward)(const TextgenHead*);
  void (*backward)(const TextgenHead*, const TextgenHeadGradients*);
};

}  // extern "C"

namespace {

Tensor of(Tensor* tensor) { return tensor == nullptr ? Tensor() : *tensor; }

// libtorch takes no undefined tensor for an argument.
using MaybeTensor = std::optional<Tensor>;

MaybeTensor maybe(const Tensor& tensor) { return tensor.defined() ? MaybeTensor(tensor) : std::nullopt; }

// Contiguous f32 on the CPU; an undefined tensor stays one.
Tensor plain(const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  TORCH_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat, "f32 on the CPU, not ",
              tensor.toString());
  return tensor.contiguous();
}

Tensor plain_symbols(const Tensor& tensor) {
  TORCH_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == at::kLong, "i64 on the CPU, not ",
              tensor.toString());
  return tensor.contiguous();
}

float* data(const Tensor& tensor) { return tensor.defined() ? tensor.data_ptr<float>() : nullptr; }

Tensor like(const Tensor& tensor, bool wanted = true) {
  return tensor.defined() && wanted ? at::empty_like(tensor) : Tensor();
}

// A tensor that a backward pass overwrites can be used only once.
Tensor take(AutogradContext* context, const char* name) {
  Tensor tensor = context->saved_data[name].toTensor();
  TORCH_CHECK(tensor.defined(), "this operator goes back once");
  context->saved_data[name] = Tensor();
  return tensor;
}

// The arguments of a layer, in the order of the operator.
enum LayerArgument { kInput, kConstant, kWeightIh, kWeightHh, kBiasIh, kBiasHh, kH0, kC0, kLayerArguments };

TextgenLayer describe(const variable_list& arguments, const std::vector<int64_t>& counts, int64_t cell) {
  TextgenLayer layer{};
  const Tensor& input = arguments[kInput];
  layer.cell = cell;
  layer.steps = static_cast<int64_t>(counts.size());
  layer.counts = counts.data();
  layer.positions = input.size(0);
  layer.inputs = arguments[kWeightIh].size(1);
  layer.hidden = arguments[kWeightHh].size(1);
  if (input.scalar_type() == at::kLong) {
    layer.symbols = input.data_ptr<int64_t>();
  } else {
    layer.vectors = data(input);
  }
  layer.constant = data(arguments[kConstant]);
  layer.weight_ih = data(arguments[kWeightIh]);
  layer.weight_hh = data(arguments[kWeightHh]);
  layer.bias_ih = data(arguments[kBiasIh]);
  layer.bias_hh = data(arguments[kBiasHh]);
  layer.h0 = data(arguments[kH0]);
  layer.c0 = data(arguments[kC0]);
  return layer;
}

// Numbers saved at every position for the backward pass.
struct Saved {
  int64_t gates, units;
};

struct LayerResults {
  Tensor outputs, h, c, gates, units;
};

LayerResults run_layer(const variable_list& arguments, const std::vector<int64_t>& counts, int64_t cell,
                       const TextgenLayerKernels* kernels, std::optional<Saved> saved) {
  TextgenLayer layer = describe(arguments, counts, cell);
  const Tensor& h0 = arguments[kH0];
  LayerResults results;
  results.outputs = at::empty({layer.positions, layer.hidden}, h0.options());
  results.h = at::empty_like(h0);
  results.c = like(arguments[kC0]);
  if (saved) {
    results.gates = at::empty({layer.positions, saved->gates}, h0.options());
    results.units = at::empty({layer.positions, saved->units}, h0.options());
  }
  layer.outputs = data(results.outputs);
  layer.h = data(results.h);
  layer.c = data(results.c);
  layer.gates = data(results.gates);
  layer.units = data(results.units);
  kernels->forward(&layer);
  return results;
}

struct Layer : torch::autograd::Function<Layer> {
  static variable_list forward(AutogradContext* context, const Tensor& input, const MaybeTensor& constant,
                               const Tensor& weight_ih, const Tensor& weight_hh, const Tensor& bias_ih,
                               const Tensor& bias_hh, const Tensor& h0, const MaybeTensor& c0,
                               const std::vector<int64_t>& counts, int64_t cell,
                               const TextgenLayerKernels* kernels, Saved saved) {
    variable_list arguments{input,   constant.value_or(Tensor()), weight_ih, weight_hh, bias_ih,
                            bias_hh, h0, c0.value_or(Tensor())};
    LayerResults results = run_layer(arguments, counts, cell, kernels, saved);
    arguments.push_back(results.outputs);
    context->save_for_backward(arguments);
    context->saved_data["counts"] = counts;
    context->saved_data["cell"] = cell;
    context->saved_data["kernels"] = reinterpret_cast<int64_t>(kernels);
    context->saved_data["gates"] = results.gates;
    context->saved_data["units"] = results.units;
    context->set_materialize_grads(false);
    variable_list out{results.outputs, results.h};
    if (results.c.defined()) out.push_back(results.c);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list of) {
    variable_list arguments = context->get_saved_variables();
    const std::vector<int64_t> counts = context->saved_data["counts"].toIntVector();
    const auto* kernels = reinterpret_cast<const TextgenLayerKernels*>(context->saved_data["kernels"].toInt());
    TextgenLayer layer = describe(arguments, counts, context->saved_data["cell"].toInt());
    Tensor gates = take(context, "gates"), units = take(context, "units");
    layer.outputs = data(arguments[kLayerArguments]);
    layer.gates = data(gates);
    layer.units = data(units);
    for (Tensor& gradient : of) gradient = plain(gradient);

    variable_list to(kLayerArguments);
    size_t edge = 0;  // Missing arguments have none.
    for (int i = 0; i < kLayerArguments; ++i) {
      if (!arguments[i].defined()) continue;
      bool symbols = i == kInput && layer.symbols != nullptr;
      bool weight = i >= kWeightIh && i <= kBiasHh;
      to[i] = like(arguments[i], weight || (!symbols && context->needs_input_grad(edge)));
      ++edge;
    }
    TextgenLayerGradients gradients{};
    gradients.d_outputs = data(of[0]);
    gradients.d_h = data(of[1]);
    gradients.d_c = of.size() > 2 ? data(of[2]) : nullptr;
    gradients.vectors = data(to[kInput]);
    gradients.constant = data(to[kConstant]);
    gradients.weight_ih = data(to[kWeightIh]);
    gradients.weight_hh = data(to[kWeightHh]);
    gradients.bias_ih = data(to[kBiasIh]);
    gradients.bias_hh = data(to[kBiasHh]);
    gradients.h0 = data(to[kH0]);
    gradients.c0 = data(to[kC0]);
    kernels->backward(&layer, &gradients);
    to.resize(kLayerArguments + 4);  // Counts, cell, kernels and sizes have no gradient.
    return to;
  }
};

TextgenHead describe_head(const Tensor& vectors, const Tensor& weight, const Tensor& bias, const Tensor& targets) {
  TextgenHead head{};
  head.positions = vectors.size(0);
  head.hidden = vectors.size(1);
  head.outputs = bias.size(0);
  head.vectors = data(vectors);
  head.weight = data(weight);
  head.bias = data(bias);
  head.targets = targets.data_ptr<int64_t>();
  return head;
}

struct HeadResults {
  Tensor nats, probabilities;
};

HeadResults run_head(const Tensor& vectors, const Tensor& weight, const Tensor& bias, const Tensor& targets,
                     const TextgenHeadKernels* kernels, int64_t saved) {
  TextgenHead head = describe_head(vectors, weight, bias, targets);
  HeadResults results;
  results.nats = at::empty({head.positions}, vectors.options());
  results.probabilities = at::empty({head.positions, saved}, vectors.options());
  head.nats = data(results.nats);
  head.probabilities = data(results.probabilities);
  kernels->forward(&head);
  return results;
}

struct Head : torch::autograd::Function<Head> {
  static Tensor forward(AutogradContext* context, const Tensor& vectors, const Tensor& weight, const Tensor& bias,
                        const Tensor& targets, const TextgenHeadKernels* kernels, int64_t saved) {
    HeadResults results = run_head(vectors, weight, bias, targets, kernels, saved);
    context->save_for_backward({vectors, weight, bias, targets});
    context->saved_data["kernels"] = reinterpret_cast<int64_t>(kernels);
    context->saved_data["probabilities"] = results.probabilities;
    return results.nats;
  }

  static variable_list backward(AutogradContext* context, variable_list of) {
    variable_list arguments = context->get_saved_variables();
    const auto* kernels = reinterpret_cast<const TextgenHeadKernels*>(context->saved_data["kernels"].toInt());
    TextgenHead head = describe_head(arguments[0], arguments[1], arguments[2], arguments[3]);
    Tensor probabilities = take(context, "probabilities"), d_nats = plain(of[0]);
    head.probabilities = data(probabilities);
    variable_list to{like(arguments[0]), like(arguments[1]), like(arguments[2]), Tensor(), Tensor(), Tensor()};
    TextgenHeadGradients gradients{data(d_nats), data(to[0]), data(to[1]), data(to[2])};
    kernels->backward(&head, &gradients);
    return to;
  }
};

bool wants_gradient(const variable_list& arguments) {
  if (!c10::GradMode::is_enabled()) return false;
  for (const Tensor& tensor : arguments) {
    if (tensor.defined() && tensor.requires_grad()) return true;
  }
  return false;
}

}  // namespace

extern "C" {

// Calls `job(context, i)` for every i below `count`, each on one of libtorch's threads.
void textgen_parallel(int64_t count, void (*job)(void*, int64_t), void* context) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) job(context, i);
  });
}

// A recurrent layer. `tensors` are the arguments, some null; `out` receives outputs, h and, for an
// LSTM, c.
char* textgen_layer(Tensor** tensors, const int64_t* counts, size_t steps, int64_t cell,
                    const TextgenLayerKernels* kernels, int64_t saved_gates, int64_t saved_units, Tensor** out) {
  return guarded([&] {
    variable_list arguments;
    for (int i = 0; i < kLayerArguments; ++i) {
      Tensor tensor = of(tensors[i]);
      bool symbols = i == kInput && tensor.scalar_type() == at::kLong;
      arguments.push_back(symbols ? plain_symbols(tensor) : plain(tensor));
    }
    std::vector<int64_t> rows(counts, counts + steps);
    variable_list results;
    if (wants_gradient(arguments)) {
      results = Layer::apply(arguments[kInput], maybe(arguments[kConstant]), arguments[kWeightIh],
                             arguments[kWeightHh], arguments[kBiasIh], arguments[kBiasHh], arguments[kH0],
                             maybe(arguments[kC0]), rows, cell, kernels, Saved{saved_gates, saved_units});
    } else {
      LayerResults run = run_layer(arguments, rows, cell, kernels, std::nullopt);
      results = {run.outputs, run.h, run.c};
    }
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i].defined()) out[i] = new Tensor(results[i]);
    }
  });
}

// −log p(target) of a linear layer's predictions.
char* textgen_head(Tensor* vectors, Tensor* weight, Tensor* bias, Tensor* targets,
                   const TextgenHeadKernels* kernels, int64_t saved, Tensor** out) {
  return guarded([&] {
    Tensor x = plain(*vectors), w = plain(*weight), b = plain(*bias), t = plain_symbols(*targets);
    Tensor nats = wants_gradient({x, w, b}) ? Head::apply(x, w, b, t, kernels, saved)
                                           : run_head(x, w, b, t, kernels, saved).nats;
    *out = new Tensor(nats);
  });
}

}  // extern "C"
