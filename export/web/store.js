// The browser's own storage for known people: one record a face, in IndexedDB. Nothing of it goes anywhere.

const [DATABASE, FACES] = ["keras-margin", "faces"];

/**
 * A record.
 *
 * @typedef {object} StoredFace
 * @property {string} name
 * @property {string} model Whose embedding it is.
 * @property {Float32Array} embedding
 * @property {{pixels: Uint8Array, height: number, width: number}} crop RGB, for the eye alone.
 */

export class Store {
  /**
   * @throws {Error} The browser keeps nothing for this page, as in some private windows.
   */
  static async open() {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(FACES, { autoIncrement: true });
    return new Store(await answer(request));
  }

  constructor(database) {
    this.database = database;
  }

  /** Every record, the oldest first. */
  async all() {
    return answer(this.faces("readonly").getAll());
  }

  /** @param {StoredFace} face */
  async add(face) {
    const faces = this.faces("readwrite");
    faces.add(face);
    await done(faces.transaction);
  }

  /** Erases the records for which `chosen` answers true. */
  async erase(chosen) {
    const faces = this.faces("readwrite");
    const request = faces.openCursor();
    request.onsuccess = () => {
      const cursor = request.result;
      if (cursor === null) return;
      if (chosen(cursor.value)) cursor.delete();
      cursor.continue();
    };
    await done(faces.transaction);
  }

  faces(mode) {
    return this.database.transaction(FACES, mode).objectStore(FACES);
  }
}

/** A store for browsers that keep nothing: people are forgotten with the page. */
export class Forgetful {
  constructor() {
    this.records = [];
  }

  async all() {
    return [...this.records];
  }

  async add(face) {
    this.records.push(face);
  }

  async erase(chosen) {
    this.records = this.records.filter((face) => !chosen(face));
  }
}

function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function done(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
