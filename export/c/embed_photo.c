/* Finds, aligns and embeds the faces of photographs with a .tflite file of `keras-margin export --photo`, through LiteRT's
 * C API alone.
 *
 *     cc -std=c11 -O2 -DWITH_JPEG export/c/embed_photo.c -o embed_photo -L"$LITERT" -lLiteRt -Wl,-rpath,"$LITERT" -ljpeg -lm
 *     ./embed_photo face.tflite photograph.jpg             # a line a face: x1 y1 x2 y2 score, then the embedding
 *     ./embed_photo face.tflite photograph.jpg other.jpg   # the cosine of the largest faces
 *
 * $LITERT is a folder with libLiteRt.so, as for embed_pair.c. Photographs are JPEG, by libjpeg or libjpeg-turbo, or binary
 * PPM; without -DWITH_JPEG and -ljpeg, PPM alone. One that is larger than the model's canvas is shrunk until it fits, and
 * its faces are cut out of the shrunken copy; boxes are in pixels of the photograph. Exit code: 0, or 1 with one line that
 * says what was wrong, a photograph without a face among it where two are compared.
 */

#include "photograph.h"

enum { kMostTensors = 5 };

typedef struct {
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  const char *path;
} Network;

/* A signature: its tensors in the order of the file, addressed by name. */
typedef struct {
  size_t index, num_inputs, num_outputs;
  const char *input_names[kMostTensors], *output_names[kMostTensors];
  LiteRtTensorBuffer inputs[kMostTensors], outputs[kMostTensors];
  LiteRtRankedTensorType input_types[kMostTensors], output_types[kMostTensors];
} Signature;

typedef struct {
  float box[4], score;
  float *embedding;
} Face;

typedef struct {
  Network network;
  Signature detect, embed;
  int height, width, slots, size; /* Of the canvas; most faces; of an embedding. */
} FaceModel;

static size_t named(const char *const *names, size_t count, const char *name) {
  for (size_t at = 0; at < count; ++at)
    if (strcmp(names[at], name) == 0) return at;
  fail("the model takes no photographs as keras-margin exports them: it lacks", name);
  return 0;
}

static Network open_network(const char *path) {
  Network n = {.path = path};
  check(LiteRtCreateEnvironment(0, NULL, &n.environment), "start", path);
  check(LiteRtCreateModelFromFile(n.environment, path, &n.model), "read the model", path);
  check(LiteRtCreateOptions(&n.options), "make options for", path);
  check(LiteRtSetOptionsHardwareAccelerators(n.options, kCpu), "choose the processor for", path);
  check(LiteRtCreateCompiledModel(n.environment, n.model, n.options, &n.compiled), "compile", path);
  return n;
}

static LiteRtSignature find_signature(Network *n, const char *name, size_t *index) {
  size_t count;
  check(LiteRtGetNumModelSignatures(n->model, &count), "count the signatures of", n->path);
  for (*index = 0; *index < count; ++*index) {
    LiteRtSignature signature;
    const char *key;
    check(LiteRtGetModelSignature(n->model, *index, &signature), "find a signature in", n->path);
    check(LiteRtGetSignatureKey(signature, &key), "name a signature of", n->path);
    if (strcmp(key, name) == 0) return signature;
  }
  fail("the model takes aligned faces alone; export it with --photo", n->path);
  return NULL;
}

static Signature open_signature(Network *n, const char *name) {
  Signature s = {0};
  LiteRtTensor tensor;
  LiteRtTensorBufferRequirements needs;
  const LiteRtSignature found = find_signature(n, name, &s.index);
  check(LiteRtGetNumSignatureInputs(found, &s.num_inputs), "count the inputs of", name);
  check(LiteRtGetNumSignatureOutputs(found, &s.num_outputs), "count the outputs of", name);
  if (s.num_inputs > kMostTensors || s.num_outputs > kMostTensors) fail("the model has an unknown signature", name);
  for (size_t at = 0; at < s.num_inputs; ++at) {
    check(LiteRtGetSignatureInputName(found, at, &s.input_names[at]), "name an input of", name);
    check(LiteRtGetSignatureInputTensorByIndex(found, at, &tensor), "find an input of", name);
    check(LiteRtGetRankedTensorType(tensor, &s.input_types[at]), "tell an input's shape of", name);
    check(LiteRtGetCompiledModelInputBufferRequirements(n->compiled, s.index, at, &needs), "size an input of", name);
    check(LiteRtCreateManagedTensorBufferFromRequirements(n->environment, &s.input_types[at], needs, &s.inputs[at]),
          "hold an input of", name);
  }
  for (size_t at = 0; at < s.num_outputs; ++at) {
    check(LiteRtGetSignatureOutputName(found, at, &s.output_names[at]), "name an output of", name);
    check(LiteRtGetSignatureOutputTensorByIndex(found, at, &tensor), "find an output of", name);
    check(LiteRtGetRankedTensorType(tensor, &s.output_types[at]), "tell an output's shape of", name);
    check(LiteRtGetCompiledModelOutputBufferRequirements(n->compiled, s.index, at, &needs), "size an output of", name);
    check(LiteRtCreateManagedTensorBufferFromRequirements(n->environment, &s.output_types[at], needs, &s.outputs[at]),
          "hold an output of", name);
  }
  return s;
}

static void close_signature(Signature *s) {
  for (size_t at = 0; at < s->num_inputs; ++at) LiteRtDestroyTensorBuffer(s->inputs[at]);
  for (size_t at = 0; at < s->num_outputs; ++at) LiteRtDestroyTensorBuffer(s->outputs[at]);
}

static void put(Signature *s, const char *name, const void *from, size_t bytes) {
  write_buffer(s->inputs[named(s->input_names, s->num_inputs, name)], from, bytes, name);
}

static void get(Signature *s, const char *name, void *into, size_t bytes) {
  read_buffer(s->outputs[named(s->output_names, s->num_outputs, name)], into, bytes, name);
}

static void run(Network *n, Signature *s) {
  check(LiteRtRunCompiledModel(n->compiled, s->index, s->num_inputs, s->inputs, s->num_outputs, s->outputs), "run",
        n->path);
}

/* Opens the first canvas of a model: the signatures `detect` and `embed`. */
static FaceModel open_model(const char *path) {
  FaceModel m = {.network = open_network(path)};
  m.detect = open_signature(&m.network, "detect");
  m.embed = open_signature(&m.network, "embed");
  const LiteRtRankedTensorType *photo = &m.detect.input_types[named(m.detect.input_names, m.detect.num_inputs, "photo")];
  const LiteRtRankedTensorType *scores =
      &m.detect.output_types[named(m.detect.output_names, m.detect.num_outputs, "scores")];
  const LiteRtRankedTensorType *embedding =
      &m.embed.output_types[named(m.embed.output_names, m.embed.num_outputs, "embedding")];
  if (photo->element_type != kUInt8 || photo->layout.rank != 3 || photo->layout.dimensions[2] != 3 ||
      scores->element_type != kFloat32 || scores->layout.rank != 1 || embedding->element_type != kFloat32 ||
      embedding->layout.rank != 2)
    fail("the model's photographs are not uint8 RGB, or its answers not float32", path);
  m.height = photo->layout.dimensions[0];
  m.width = photo->layout.dimensions[1];
  m.slots = scores->layout.dimensions[0];
  m.size = embedding->layout.dimensions[1];
  return m;
}

static void close_model(FaceModel *m) {
  close_signature(&m->detect);
  close_signature(&m->embed);
  LiteRtDestroyCompiledModel(m->network.compiled);
  LiteRtDestroyOptions(m->network.options);
  LiteRtDestroyModel(m->network.model);
  LiteRtDestroyEnvironment(m->network.environment);
}

/* Puts a photograph at the top left of the canvas of both signatures, shrunk if it is larger; returns pixels of the
 * photograph for each of the canvas, along x and y. */
static void place(FaceModel *m, const Photograph *photo, const char *path, double factors[2]) {
  const double scale = fmin(1, fmin((double)m->height / photo->height, (double)m->width / photo->width));
  const int height = (int)fmin(m->height, fmax(1, rint(photo->height * scale)));
  const int width = (int)fmin(m->width, fmax(1, rint(photo->width * scale)));
  const Photograph small = scale < 1 ? shrunk(photo, height, width, path) : *photo;
  const size_t bytes = (size_t)m->height * m->width * 3;
  const int32_t size[2] = {height, width};
  uint8_t *canvas = allocated(bytes, path);
  for (int row = 0; row < height; ++row)
    memcpy(canvas + (size_t)row * m->width * 3, small.pixels + (size_t)row * width * 3, (size_t)width * 3);
  put(&m->detect, "photo", canvas, bytes);
  put(&m->embed, "photo", canvas, bytes);
  put(&m->detect, "size", size, sizeof size);
  put(&m->embed, "size", size, sizeof size);
  factors[0] = (double)photo->width / width;
  factors[1] = (double)photo->height / height;
  free(canvas);
  if (scale < 1) free(small.pixels);
}

/* Finds and embeds the faces of a photograph, the largest first; returns how many, `faces` has room for m->slots. */
static int find_faces(FaceModel *m, const char *path, Face *faces) {
  Photograph photo = read_photograph(path);
  double factors[2];
  int32_t count;
  float *boxes = allocated(m->slots * 15 * sizeof(float), path), *points = boxes + 4 * m->slots, *scores = points + 10 * m->slots;
  place(m, &photo, path, factors);
  run(&m->network, &m->detect);
  get(&m->detect, "count", &count, sizeof count);
  get(&m->detect, "boxes", boxes, m->slots * 4 * sizeof(float));
  get(&m->detect, "points", points, m->slots * 10 * sizeof(float));
  get(&m->detect, "scores", scores, m->slots * sizeof(float));
  if (count < 0 || count > m->slots) fail("the model counts more faces than it has room for", path);
  check_finite(boxes, 4 * (size_t)count, path);
  check_finite(points, 10 * (size_t)count, path);
  check_finite(scores, count, path);
  for (int face = 0; face < count; ++face) {
    faces[face].score = scores[face];
    faces[face].embedding = allocated(m->size * sizeof(float), path);
    put(&m->embed, "points", points + 10 * face, 10 * sizeof(float));
    run(&m->network, &m->embed);
    get(&m->embed, "embedding", faces[face].embedding, m->size * sizeof(float));
    check_finite(faces[face].embedding, m->size, path);
    /* (0, 0) is the centre of the first pixel, of the photograph and of the canvas. */
    for (int at = 0; at < 4; ++at) faces[face].box[at] = (float)((boxes[4 * face + at] + 0.5) * factors[at % 2] - 0.5);
  }
  free(boxes);
  free(photo.pixels);
  return count;
}

static void free_faces(Face *faces, int count) {
  for (int face = 0; face < count; ++face) free(faces[face].embedding);
}

int main(int argc, char **argv) {
  if (argc < 3 || argc > 4)
    fail("a model and one or two photographs are wanted", "embed_photo face.tflite photograph.jpg [other.jpg]");
  FaceModel model = open_model(argv[1]);
  Face *faces = allocated(2 * model.slots * sizeof(Face), argv[1]), *others = faces + model.slots;
  const int count = find_faces(&model, argv[2], faces);
  if (argc == 3) {
    for (int face = 0; face < count; ++face) {
      const float *box = faces[face].box;
      printf("%.3f %.3f %.3f %.3f %.6f", box[0], box[1], box[2], box[3], faces[face].score);
      for (int at = 0; at < model.size; ++at) printf(" %.7f", faces[face].embedding[at]);
      printf("\n");
    }
  } else {
    const int others_count = find_faces(&model, argv[3], others);
    if (count == 0 || others_count == 0) fail("no face was found", argv[count == 0 ? 2 : 3]);
    printf("%.6f\n", cosine(faces[0].embedding, others[0].embedding, model.size));
    free_faces(others, others_count);
  }
  free_faces(faces, count);
  free(faces);
  close_model(&model);
  return 0;
}
