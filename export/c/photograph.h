/* Photographs as RGB bytes: read from binary PPM (P6, 8 bits) or, compiled with -DWITH_JPEG -ljpeg, from JPEG, and made
 * smaller. Memory is the caller's to free.
 */

#ifndef PHOTOGRAPH_H_
#define PHOTOGRAPH_H_

#include "litert.h" /* fail() */

#ifdef WITH_JPEG
#include <jpeglib.h>
#endif

typedef struct {
  int height, width;
  uint8_t *pixels; /* height * width * 3, RGB, row by row. */
} Photograph;

enum { kMostSide = 1 << 15 };

static inline void *allocated(size_t bytes, const char *path) {
  void *memory = calloc(bytes, 1);
  if (memory == NULL) fail("out of memory", path);
  return memory;
}

static inline void check_sides(int height, int width, const char *path) {
  if (height < 1 || width < 1 || height > kMostSide || width > kMostSide)
    fail("a side of the picture is 0 or above 32768 pixels", path);
}

static inline Photograph read_ppm(FILE *file, const char *path) {
  Photograph photo;
  int most;
  if (fscanf(file, "P6 %d %d %d", &photo.width, &photo.height, &most) != 3 || most != 255 || fgetc(file) == EOF)
    fail("not a binary PPM (P6) with 8 bits and no comment", path);
  check_sides(photo.height, photo.width, path);
  const size_t count = (size_t)photo.height * photo.width;
  photo.pixels = allocated(count * 3, path);
  if (fread(photo.pixels, 3, count, file) != count) fail("the picture ends early", path);
  return photo;
}

#ifdef WITH_JPEG
static const char *jpeg_path; /* Of the file that is read: libjpeg's errors come without it. */

static void jpeg_failed(j_common_ptr jpeg) {
  char text[JMSG_LENGTH_MAX];
  (*jpeg->err->format_message)(jpeg, text);
  fail(text, jpeg_path);
}

static void jpeg_warned(j_common_ptr jpeg, int level) {
  if (level < 0) jpeg_failed(jpeg); /* A file cut short is a warning to libjpeg, and grey pixels. */
}

/* EXIF's orientation, 1 to 8; 1 where the file has none. */
static int orientation_of(const struct jpeg_decompress_struct *jpeg) {
  for (jpeg_saved_marker_ptr marker = jpeg->marker_list; marker != NULL; marker = marker->next) {
    const uint8_t *data = marker->data + 6;
    const size_t size = marker->data_length;
    if (size < 14 + 6 || memcmp(marker->data, "Exif\0\0", 6) != 0) continue;
    const bool little = data[0] == 'I';
#define U16(at) (little ? data[at] | data[(at) + 1] << 8 : data[at] << 8 | data[(at) + 1])
    const size_t directory = little ? U16(4) : U16(6); /* Its offset's lower half: within 64 KiB, as the marker is. */
    if (directory + 2 > size - 6) continue;
    for (size_t entry = directory + 2, left = U16(directory); left > 0 && entry + 12 <= size - 6; --left, entry += 12)
      if (U16(entry) == 0x0112) return U16(entry + 8);
#undef U16
  }
  return 1;
}

static Photograph read_jpeg(FILE *file, const char *path) {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  Photograph photo;
  jpeg_path = path;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = jpeg_failed;
  errors.emit_message = jpeg_warned;
  jpeg_create_decompress(&jpeg);
  jpeg_stdio_src(&jpeg, file);
  jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&jpeg, TRUE);
  check_sides((int)jpeg.image_height, (int)jpeg.image_width, path);
  if (orientation_of(&jpeg) != 1) fail("the picture is not upright, by its EXIF: turn it first (jpegtran, exiftran)", path);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  photo.height = (int)jpeg.output_height;
  photo.width = (int)jpeg.output_width;
  photo.pixels = allocated((size_t)photo.height * photo.width * 3, path);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = photo.pixels + (size_t)jpeg.output_scanline * photo.width * 3;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return photo;
}
#endif

/* Reads a photograph, by its first bytes. */
static inline Photograph read_photograph(const char *path) {
  Photograph photo = {0};
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("there is no such file", path);
  const int first = fgetc(file);
  rewind(file);
  if (first != 0xFF) {
    photo = read_ppm(file, path);
  } else {
#ifdef WITH_JPEG
    photo = read_jpeg(file, path);
#else
    fail("compiled without -DWITH_JPEG, this program reads binary PPM alone", path);
#endif
  }
  fclose(file);
  return photo;
}

/* Means over `count` equal stretches of an axis; a pixel that two stretches share is divided. rows x side x 3 values at
 * `from` become rows x count x 3 at `into`; the step from one place along the axis to the next is `step` values. */
static inline void area_means(const float *from, float *into, int side, int count, size_t from_step, size_t into_step) {
  const double stretch = (double)side / count;
  for (int place = 0; place < count; ++place) {
    double sums[3] = {0, 0, 0};
    const double start = place * stretch, end = start + stretch;
    for (int at = (int)start; at < side && at < end - 1e-9; ++at) {
      const double weight = fmin(at + 1, end) - fmax(at, start);
      for (int channel = 0; channel < 3; ++channel) sums[channel] += weight * from[at * from_step + channel];
    }
    for (int channel = 0; channel < 3; ++channel) into[place * into_step + channel] = (float)(sums[channel] / stretch);
  }
}

/* Makes a photograph height x width pixels, each side at most its own; every pixel is the mean of the area it covers. */
static inline Photograph shrunk(const Photograph *photo, int height, int width, const char *path) {
  const size_t count = (size_t)photo->height * photo->width * 3;
  float *whole = allocated(count * sizeof(float), path);
  float *flat = allocated((size_t)height * photo->width * 3 * sizeof(float), path);
  float *small = allocated((size_t)height * width * 3 * sizeof(float), path);
  Photograph result = {height, width, allocated((size_t)height * width * 3, path)};
  for (size_t at = 0; at < count; ++at) whole[at] = photo->pixels[at];
  for (int column = 0; column < photo->width; ++column)
    area_means(whole + column * 3, flat + column * 3, photo->height, height, photo->width * 3, photo->width * 3);
  for (int row = 0; row < height; ++row)
    area_means(flat + (size_t)row * photo->width * 3, small + (size_t)row * width * 3, photo->width, width, 3, 3);
  for (size_t at = 0; at < (size_t)height * width * 3; ++at) result.pixels[at] = (uint8_t)rint(small[at]);
  free(whole);
  free(flat);
  free(small);
  return result;
}

#endif /* PHOTOGRAPH_H_ */
