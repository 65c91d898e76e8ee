/* The part of LiteRT 2.3's C API that the programs here use, because the Python package that carries libLiteRt.so carries
 * no headers. A project that builds LiteRT itself includes litert/c/litert_compiled_model.h, litert_environment.h,
 * litert_model.h, litert_options.h and litert_tensor_buffer.h instead. And what the programs share.
 */

#ifndef LITERT_H_
#define LITERT_H_

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtSignatureT *LiteRtSignature;
typedef struct LiteRtTensorT *LiteRtTensor;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;
typedef struct LiteRtTensorBufferRequirementsT *LiteRtTensorBufferRequirements;

typedef int LiteRtStatus; /* 0 is success. */
enum { kCpu = 1, kFloat32 = 1, kInt32 = 2, kUInt8 = 3, kRead = 0, kWrite = 1, kMaxRank = 8 };

typedef struct {
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  int32_t dimensions[kMaxRank]; /* Below 0: free. */
  uint32_t strides[kMaxRank];
} LiteRtLayout;

typedef struct {
  int element_type;
  LiteRtLayout layout;
} LiteRtRankedTensorType;

extern LiteRtStatus LiteRtCreateEnvironment(int, const void *, LiteRtEnvironment *);
extern LiteRtStatus LiteRtCreateModelFromFile(LiteRtEnvironment, const char *, LiteRtModel *);
extern LiteRtStatus LiteRtGetNumModelSignatures(LiteRtModel, size_t *);
extern LiteRtStatus LiteRtGetModelSignature(LiteRtModel, size_t, LiteRtSignature *);
extern LiteRtStatus LiteRtGetSignatureKey(LiteRtSignature, const char **);
extern LiteRtStatus LiteRtGetNumSignatureInputs(LiteRtSignature, size_t *);
extern LiteRtStatus LiteRtGetNumSignatureOutputs(LiteRtSignature, size_t *);
extern LiteRtStatus LiteRtGetSignatureInputName(LiteRtSignature, size_t, const char **);
extern LiteRtStatus LiteRtGetSignatureOutputName(LiteRtSignature, size_t, const char **);
extern LiteRtStatus LiteRtGetSignatureInputTensorByIndex(LiteRtSignature, size_t, LiteRtTensor *);
extern LiteRtStatus LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature, size_t, LiteRtTensor *);
extern LiteRtStatus LiteRtGetRankedTensorType(LiteRtTensor, LiteRtRankedTensorType *);
extern LiteRtStatus LiteRtCreateOptions(LiteRtOptions *);
extern LiteRtStatus LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int);
extern LiteRtStatus LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel *);
extern LiteRtStatus LiteRtCompiledModelResizeInputTensor(LiteRtCompiledModel, size_t, size_t, const int *, size_t);
extern LiteRtStatus LiteRtGetCompiledModelInputBufferRequirements(LiteRtCompiledModel, size_t, size_t,
                                                                  LiteRtTensorBufferRequirements *);
extern LiteRtStatus LiteRtGetCompiledModelOutputBufferRequirements(LiteRtCompiledModel, size_t, size_t,
                                                                   LiteRtTensorBufferRequirements *);
extern LiteRtStatus LiteRtGetCompiledModelOutputTensorLayouts(LiteRtCompiledModel, size_t, size_t, LiteRtLayout *, bool);
extern LiteRtStatus LiteRtCreateManagedTensorBufferFromRequirements(LiteRtEnvironment, const LiteRtRankedTensorType *,
                                                                    LiteRtTensorBufferRequirements, LiteRtTensorBuffer *);
extern LiteRtStatus LiteRtLockTensorBuffer(LiteRtTensorBuffer, void **, int);
extern LiteRtStatus LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
extern LiteRtStatus LiteRtRunCompiledModel(LiteRtCompiledModel, size_t, size_t, LiteRtTensorBuffer *, size_t,
                                           LiteRtTensorBuffer *);
extern void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer);
extern void LiteRtDestroyCompiledModel(LiteRtCompiledModel);
extern void LiteRtDestroyOptions(LiteRtOptions);
extern void LiteRtDestroyModel(LiteRtModel);
extern void LiteRtDestroyEnvironment(LiteRtEnvironment);

static inline void fail(const char *what, const char *name) {
  fprintf(stderr, "error: %s: %s\n", what, name);
  exit(1);
}

static inline void check(LiteRtStatus status, const char *what, const char *path) {
  if (status != 0) {
    fprintf(stderr, "error: LiteRT cannot %s (status %d): %s\n", what, status, path);
    exit(1);
  }
}

static inline void write_buffer(LiteRtTensorBuffer buffer, const void *from, size_t bytes, const char *what) {
  void *memory;
  check(LiteRtLockTensorBuffer(buffer, &memory, kWrite), "write", what);
  memcpy(memory, from, bytes);
  check(LiteRtUnlockTensorBuffer(buffer), "write", what);
}

static inline void read_buffer(LiteRtTensorBuffer buffer, void *into, size_t bytes, const char *what) {
  void *memory;
  check(LiteRtLockTensorBuffer(buffer, &memory, kRead), "read", what);
  memcpy(into, memory, bytes);
  check(LiteRtUnlockTensorBuffer(buffer), "read", what);
}

/* Fails unless every number that a network answered is one. */
static inline void check_finite(const float *values, size_t count, const char *path) {
  for (size_t at = 0; at < count; ++at)
    if (!isfinite(values[at])) fail("the network answered NaN or infinity", path);
}

/* In double, as a guard against a network whose embeddings are not quite of unit length. */
static inline double cosine(const float *a, const float *b, int size) {
  double product = 0, first = 0, second = 0;
  for (int i = 0; i < size; ++i) {
    product += (double)a[i] * b[i];
    first += (double)a[i] * a[i];
    second += (double)b[i] * b[i];
  }
  return first > 0 && second > 0 ? product / sqrt(first * second) : 0;
}

#endif /* LITERT_H_ */
