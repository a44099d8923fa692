// tensor/kernel/sets.h - the kernel sets kernels.cpp chooses from. Private to the tensor room.
#pragma once

#include "tensor/kernels.h"

namespace ration {

extern const Kernels kReferenceKernels;
extern const Kernels kAvx2Kernels;    // needs has_avx2()
extern const Kernels kAvx512Kernels;  // needs has_avx512_vnni()
extern const Kernels kAmxKernels;     // needs has_amx() and request_tiles()

// The groups of a set that live in files of their own.
namespace reference {
ActivationFormat format_of(DType dtype);
void quantize(ActivationFormat format, const float* x, int64_t cols, std::byte* out);
void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride);
void attend(const AttendArguments& arguments);
}  // namespace reference

namespace avx2 {
ActivationFormat format_of(DType dtype);
void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride);
void screen(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride);
}  // namespace avx2

namespace avx512 {
ActivationFormat format_of(DType dtype);
void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride);
void screen(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride);
void matmul_deep(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end,
                 float* out, int64_t out_stride);
}  // namespace avx512

// As AVX-512 but for the deep products.
namespace amx {
void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride);
}  // namespace amx

}  // namespace ration
