plugins {
  id("com.android.application")
  id("org.jetbrains.kotlin.android")
}

android {
  namespace = "kerasmargin.faces"
  compileSdk = 35

  defaultConfig {
    applicationId = "kerasmargin.faces"
    minSdk = 28 // ImageDecoder, which turns photographs upright by their EXIF.
    targetSdk = 35
    versionCode = 1
    versionName = "1"
  }
  androidResources { noCompress += "tflite" }
  compileOptions {
    sourceCompatibility = JavaVersion.VERSION_17
    targetCompatibility = JavaVersion.VERSION_17
  }
  kotlinOptions { jvmTarget = "17" }
}

dependencies {
  implementation("androidx.activity:activity:1.9.3")
  implementation("androidx.camera:camera-camera2:1.4.0")
  implementation("androidx.camera:camera-lifecycle:1.4.0")
  implementation("com.google.ai.edge.litert:litert:2.3.2")
}
