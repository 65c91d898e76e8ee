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
 */

#include "photograph.h"

typedef struct {
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  LiteRtTensorBuffer input, output;
  int height, width, size; /* Of the image and of the embedding. */
} Embedder;

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
  write_buffer(e->input, pixels, (size_t)e->height * e->width * 3, "the image");
  check(LiteRtRunCompiledModel(e->compiled, 0, 1, &e->input, 1, &e->output), "run", "the model");
  read_buffer(e->output, embedding, e->size * sizeof(float), "the embedding");
}

/* Reads a picture of that size. */
static uint8_t *read_crop(const char *path, int height, int width) {
  const Photograph photo = read_photograph(path);
  if (photo.width != width || photo.height != height) {
    fprintf(stderr, "error: the model takes %d x %d pixels, this picture has %d x %d: %s\n", width, height, photo.width,
            photo.height, path);
    exit(1);
  }
  return photo.pixels;
}

int main(int argc, char **argv) {
  if (argc != 4) fail("three files are wanted", "embed_pair face.tflite one.ppm other.ppm");
  Embedder embedder = open_embedder(argv[1]);
  float *embeddings = malloc(2 * embedder.size * sizeof(float));
  if (embeddings == NULL) fail("out of memory", argv[1]);
  for (int i = 0; i < 2; ++i) {
    uint8_t *pixels = read_crop(argv[2 + i], embedder.height, embedder.width);
    embed(&embedder, pixels, embeddings + i * embedder.size);
    free(pixels);
  }
  check_finite(embeddings, 2 * (size_t)embedder.size, argv[1]);
  printf("%.6f\n", cosine(embeddings, embeddings + embedder.size, embedder.size));
  free(embeddings);
  close_embedder(&embedder);
  return 0;
}
