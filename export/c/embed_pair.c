/* Embeds two faces with an exported .tflite file through LiteRT's C API, and prints how similar they are.
 *
 *     cc -std=c11 -O2 export/c/embed_pair.c -o embed_pair -L"$LITERT" -lLiteRt -Wl,-rpath,"$LITERT" -lm
 *     ./embed_pair face.tflite one.ppm other.ppm
 *
 * $LITERT is a folder with libLiteRt.so. The Python package ai-edge-litert carries one:
 *
 *     LITERT=$(python -c 'import ai_edge_litert; print(ai_edge_litert.__path__[0])')
 *
 * The pictures are aligned crops as binary PPM (P6, 8 bits), of the size that the model takes. Exit code: 0, or 1 with
 * one line that says what was wrong.
 *
 * The declarations below are the part of LiteRT 2.3's C API that is used here, because the package carries no headers. A
 * project that builds LiteRT itself includes litert/c/litert_compiled_model.h, litert_environment.h, litert_model.h,
 * litert_options.h and litert_tensor_buffer.h instead.
 */

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
enum { kCpu = 1, kFloat32 = 1, kUInt8 = 3, kRead = 0, kWrite = 1, kMaxRank = 8 };

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
extern LiteRtStatus LiteRtGetModelSignature(LiteRtModel, size_t, LiteRtSignature *);
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

typedef struct {
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  LiteRtTensorBuffer input, output;
  int height, width, size; /* Of the image and of the embedding. */
} Embedder;

static void fail(const char *what, const char *name) {
  fprintf(stderr, "error: %s: %s\n", what, name);
  exit(1);
}

static void check(LiteRtStatus status, const char *what, const char *path) {
  if (status != 0) {
    fprintf(stderr, "error: LiteRT cannot %s (status %d): %s\n", what, status, path);
    exit(1);
  }
}

/* Opens a model of the signature image: uint8 (1 or free, height, width, 3) -> embedding: float32 (the same, size). */
static Embedder open_embedder(const char *path) {
  Embedder e = {0};
  LiteRtSignature signature;
  LiteRtTensor tensor;
  LiteRtRankedTensorType image, embedding;
  LiteRtTensorBufferRequirements needs;

  check(LiteRtCreateEnvironment(0, NULL, &e.environment), "start", path);
  check(LiteRtCreateModelFromFile(e.environment, path, &e.model), "read the model", path);
  check(LiteRtGetModelSignature(e.model, 0, &signature), "find a signature in", path);
  check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "find the input of", path);
  check(LiteRtGetRankedTensorType(tensor, &image), "tell the input's shape of", path);
  if (image.element_type != kUInt8 || image.layout.rank != 4 || image.layout.dimensions[3] != 3)
    fail("the model does not take uint8 RGB images", path);
  check(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor), "find the output of", path);
  check(LiteRtGetRankedTensorType(tensor, &embedding), "tell the output's shape of", path);
  if (embedding.element_type != kFloat32 || embedding.layout.rank != 2)
    fail("the model does not answer one float32 embedding an image", path);
  if (image.layout.dimensions[0] > 1) fail("the model takes several images at once; export it with a batch of 1", path);
  e.height = image.layout.dimensions[1];
  e.width = image.layout.dimensions[2];
  e.size = embedding.layout.dimensions[1];

  check(LiteRtCreateOptions(&e.options), "make options for", path);
  check(LiteRtSetOptionsHardwareAccelerators(e.options, kCpu), "choose the processor for", path);
  check(LiteRtCreateCompiledModel(e.environment, e.model, e.options, &e.compiled), "compile", path);
  if (image.layout.dimensions[0] < 0) {
    const int one[4] = {1, e.height, e.width, 3};
    check(LiteRtCompiledModelResizeInputTensor(e.compiled, 0, 0, one, 4), "set the batch size of", path);
    check(LiteRtGetCompiledModelOutputTensorLayouts(e.compiled, 0, 1, &embedding.layout, true), "size the output of", path);
    image.layout.dimensions[0] = 1;
  }
  check(LiteRtGetCompiledModelInputBufferRequirements(e.compiled, 0, 0, &needs), "size the input of", path);
  check(LiteRtCreateManagedTensorBufferFromRequirements(e.environment, &image, needs, &e.input), "hold an image for", path);
  check(LiteRtGetCompiledModelOutputBufferRequirements(e.compiled, 0, 0, &needs), "size the output of", path);
  check(LiteRtCreateManagedTensorBufferFromRequirements(e.environment, &embedding, needs, &e.output),
        "hold an embedding of", path);
  return e;
}

static void close_embedder(Embedder *e) {
  LiteRtDestroyTensorBuffer(e->input);
  LiteRtDestroyTensorBuffer(e->output);
  LiteRtDestroyCompiledModel(e->compiled);
  LiteRtDestroyOptions(e->options);
  LiteRtDestroyModel(e->model);
  LiteRtDestroyEnvironment(e->environment);
}

/* Embeds one image of height * width * 3 bytes, RGB, row by row, into size floats of unit length. */
static void embed(Embedder *e, const uint8_t *pixels, float *embedding) {
  void *memory;
  check(LiteRtLockTensorBuffer(e->input, &memory, kWrite), "write", "the image");
  memcpy(memory, pixels, (size_t)e->height * e->width * 3);
  check(LiteRtUnlockTensorBuffer(e->input), "write", "the image");
  check(LiteRtRunCompiledModel(e->compiled, 0, 1, &e->input, 1, &e->output), "run", "the model");
  check(LiteRtLockTensorBuffer(e->output, &memory, kRead), "read", "the embedding");
  memcpy(embedding, memory, e->size * sizeof(float));
  check(LiteRtUnlockTensorBuffer(e->output), "read", "the embedding");
}

/* Reads a binary PPM of that size. */
static uint8_t *read_ppm(const char *path, int height, int width) {
  int found_width, found_height, most;
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("there is no such file", path);
  if (fscanf(file, "P6 %d %d %d", &found_width, &found_height, &most) != 3 || most != 255 || fgetc(file) == EOF)
    fail("not a binary PPM (P6) with 8 bits and no comment", path);
  if (found_width != width || found_height != height) {
    fprintf(stderr, "error: the model takes %d x %d pixels, this picture has %d x %d: %s\n", width, height, found_width,
            found_height, path);
    exit(1);
  }
  uint8_t *pixels = malloc((size_t)height * width * 3);
  if (pixels == NULL || fread(pixels, 3, (size_t)height * width, file) != (size_t)height * width)
    fail("the picture ends early", path);
  fclose(file);
  return pixels;
}

/* In double, as a guard against a network whose embeddings are not quite of unit length. */
static double cosine(const float *a, const float *b, int size) {
  double product = 0, first = 0, second = 0;
  for (int i = 0; i < size; ++i) {
    product += (double)a[i] * b[i];
    first += (double)a[i] * a[i];
    second += (double)b[i] * b[i];
  }
  return first > 0 && second > 0 ? product / sqrt(first * second) : 0;
}

int main(int argc, char **argv) {
  if (argc != 4) fail("three files are wanted", "embed_pair face.tflite one.ppm other.ppm");
  Embedder embedder = open_embedder(argv[1]);
  float *embeddings = malloc(2 * embedder.size * sizeof(float));
  if (embeddings == NULL) fail("out of memory", argv[1]);
  for (int i = 0; i < 2; ++i) {
    uint8_t *pixels = read_ppm(argv[2 + i], embedder.height, embedder.width);
    embed(&embedder, pixels, embeddings + i * embedder.size);
    free(pixels);
  }
  printf("%.6f\n", cosine(embeddings, embeddings + embedder.size, embedder.size));
  free(embeddings);
  close_embedder(&embedder);
  return 0;
}
