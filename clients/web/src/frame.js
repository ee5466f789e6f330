/**
 * The frame codec: docs/protocol/header.md and extensions.md, byte for byte. It knows nothing of sessions, and nothing of
 * WebSocket. Read decodeFrame and encodeFrame first.
 */

export const HEADER_BYTES = 20;
export const MAGIC = 0x5243;
export const VERSION = 2;
export const LENGTH_MAX = 64 * 1024 * 1024;

export const Flags = Object.freeze({
  ACK: 0x01,
  EOS: 0x02,
  CMP: 0x04,
  MORE: 0x08,
  TS: 0x10,
  BEST_EFFORT: 0x20,
  NO_REPLY: 0x40,
  CRITICAL: 0x80,
});

export const Kind = Object.freeze({
  HELLO: 0x00,
  HELLO_ACK: 0x01,
  PING: 0x02,
  PONG: 0x03,
  ERROR: 0x04,
  CLOSE: 0x05,
  DRAIN: 0x08,
  CREDIT: 0x0b,
  OPEN: 0x30,
  DATA: 0x31,
  STREAM_CLOSE: 0x32,
  STREAM_ACK: 0x33,
  RESET: 0x34,
  REQUEST: 0x38,
  RESPONSE: 0x39,
  NOTIFY: 0x3a,
});

/** What an extension is called, by its type without the top bit. */
const EXTENSIONS = new Map([
  [0x01, 'trace_context'],
  [0x02, 'trace_state'],
  [0x03, 'deadline'],
  [0x04, 'idempotency_key'],
  [0x05, 'sent_at'],
  [0x06, 'sent_at_echo'],
  [0x07, 'route'],
]);

const ROUTE = 0x07;
const DEADLINE = 0x03;
const MUST_UNDERSTAND = 0x80;

/** The peer sent bytes that are no frame. `reason` is the name that the vectors give the fault. */
export class FrameError extends Error {
  constructor(reason) {
    super(`the peer sent bytes that are no frame (${reason}); the connection cannot go on`);
    this.name = 'FrameError';
    this.reason = reason;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const text = new TextEncoder();

/** GREASE types mean nothing and are ignored, types.md#grease. */
export function isGrease(type) {
  return GREASE.has(type);
}

const GREASE = new Set([0x6a, 0x7a, 0x8a, 0x9a, 0xaa, 0xba, 0xca, 0xda, 0xea, 0xfa]);

/**
 * Reads the header at the front of `bytes`.
 * @param {Uint8Array} bytes
 * @param {number} [lengthMax] the agreed bound on payloads
 * @returns {object|null} the fields, or null when fewer than 20 bytes are there
 * @throws {FrameError}
 */
export function decodeHeader(bytes, lengthMax = LENGTH_MAX) {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const header = {
    magic: view.getUint16(0),
    version: view.getUint8(2),
    type: view.getUint8(3),
    flags: view.getUint8(4),
    priority: view.getUint8(5),
    trace: view.getUint8(6),
    ext: view.getUint8(7),
    stream_id: view.getUint32(8),
    length: view.getUint32(12),
    correlation: view.getUint32(16),
  };
  if (header.magic !== MAGIC) throw new FrameError('magic');
  if (header.version !== VERSION) throw new FrameError('version');
  if (header.type > 0x4f && !isGrease(header.type)) throw new FrameError('type');
  if (header.length > LENGTH_MAX) throw new FrameError('length');
  if (header.flags & Flags.TS && header.ext === 0) throw new FrameError('timestamp_missing');
  if (header.flags & Flags.MORE && header.flags & Flags.EOS) throw new FrameError('more_after_end');
  if (header.length > lengthMax) throw new FrameError('length');
  return header;
}

/**
 * Reads the frame at the front of `bytes`.
 * @returns {{header: object, extensions: object[], payload: Uint8Array, bytes: number}|null} null when it is not all there.
 *   The payload is a view of `bytes`.
 * @throws {FrameError}
 */
export function decodeFrame(bytes, lengthMax = LENGTH_MAX) {
  const header = decodeHeader(bytes, lengthMax);
  if (header === null) return null;
  const payloadAt = HEADER_BYTES + 4 * header.ext;
  const end = payloadAt + header.length;
  if (bytes.length < payloadAt) return null;
  const extensions = decodeExtensions(bytes.subarray(HEADER_BYTES, payloadAt), (header.flags & Flags.TS) !== 0);
  if (bytes.length < end) return null;
  return { header, extensions, payload: bytes.subarray(payloadAt, end), bytes: end };
}

/** Reads an extension area. */
export function decodeExtensions(area, hasTimestamp) {
  const view = new DataView(area.buffer, area.byteOffset, area.length);
  const extensions = [];
  let at = 0;
  if (hasTimestamp) {
    extensions.push({ name: 'timestamp', unix_seconds: view.getUint32(0) });
    at = 4;
  }
  let last = 0;
  while (at < area.length) {
    if (area.length - at < 2) throw new FrameError('truncated');
    const sent = area[at];
    const length = area[at + 1];
    const valueEnd = at + 2 + length;
    const end = at + roundUp(2 + length);
    if (end > area.length) throw new FrameError('truncated');
    if (area.subarray(valueEnd, end).some((byte) => byte !== 0)) throw new FrameError('padding');
    const type = sent & ~MUST_UNDERSTAND;
    if (type === 0 || type <= last) throw new FrameError('order');
    last = type;
    extensions.push(readValue(type, (sent & MUST_UNDERSTAND) !== 0, area.subarray(at + 2, valueEnd)));
    at = end;
  }
  return extensions;
}

function readValue(type, mustUnderstand, value) {
  const extension = { type, must_understand: mustUnderstand, name: EXTENSIONS.get(type) ?? 'unknown', value };
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  const expect = (length) => {
    if (value.length !== length) throw new FrameError('ext_length');
  };
  switch (extension.name) {
    case 'trace_context':
      expect(26);
      break;
    case 'trace_state':
      if (value.length === 0) throw new FrameError('ext_length');
      break;
    case 'deadline':
      expect(4);
      extension.ms = view.getUint32(0);
      break;
    case 'idempotency_key':
      expect(16);
      break;
    case 'sent_at':
    case 'sent_at_echo':
      expect(8);
      extension.ns = view.getBigUint64(0).toString();
      break;
    case 'route':
      Object.assign(extension, readRoute(value));
      break;
    default:
      if (mustUnderstand) throw new FrameError('not_understood');
  }
  return extension;
}

function readRoute(value) {
  const serviceBytes = value.length === 0 ? 0 : value[0];
  if (serviceBytes === 0 || serviceBytes > SERVICE_BYTES_MAX || value.length < 1 + serviceBytes + 1) {
    throw new FrameError('ext_length');
  }
  try {
    return {
      service: utf8.decode(value.subarray(1, 1 + serviceBytes)),
      method: utf8.decode(value.subarray(1 + serviceBytes)),
    };
  } catch {
    throw new FrameError('utf8');
  }
}

/**
 * Writes a frame. `header` needs `type` and may have `flags`, `priority`, `trace`, `stream_id` and `correlation`; magic,
 * version, `ext` and `length` follow from the rest.
 * @returns {Uint8Array}
 */
export function encodeFrame(header, extensions = [], payload = new Uint8Array(0)) {
  const area = encodeExtensions(extensions);
  const bytes = new Uint8Array(HEADER_BYTES + area.length + payload.length);
  writeHeader(bytes, { ...header, ext: area.length / 4, length: payload.length });
  bytes.set(area, HEADER_BYTES);
  bytes.set(payload, HEADER_BYTES + area.length);
  return bytes;
}

/** Writes a header alone, with the `ext` and `length` that it says. */
export function encodeHeader(header) {
  const bytes = new Uint8Array(HEADER_BYTES);
  writeHeader(bytes, header);
  return bytes;
}

function writeHeader(bytes, { type, flags = 0, priority = 0, trace = 0, ext, stream_id = 0, length, correlation = 0 }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  view.setUint16(0, MAGIC);
  view.setUint8(2, VERSION);
  view.setUint8(3, type);
  view.setUint8(4, flags);
  view.setUint8(5, priority);
  view.setUint8(6, trace);
  view.setUint8(7, ext);
  view.setUint32(8, stream_id);
  view.setUint32(12, length);
  view.setUint32(16, correlation);
}

/** Writes an extension area: a timestamp first, if there is one, and values in the order they are given. */
export function encodeExtensions(extensions) {
  const bytes = [];
  for (const extension of extensions) {
    if (extension.name === 'timestamp') {
      bytes.push(...bigEndian(extension.unix_seconds));
      continue;
    }
    const { type, must_understand: mustUnderstand, value } = extension;
    bytes.push(type | (mustUnderstand ? MUST_UNDERSTAND : 0), value.length, ...value);
    while (bytes.length % 4 !== 0) bytes.push(0);
  }
  return Uint8Array.from(bytes);
}

/** The extension that names a service and a method. */
export function route(service, method) {
  const [serviceBytes, methodBytes] = [text.encode(service), text.encode(method)];
  const tooLong = serviceBytes.length > SERVICE_BYTES_MAX || serviceBytes.length + methodBytes.length > ROUTE_BYTES_MAX;
  if (serviceBytes.length === 0 || methodBytes.length === 0 || tooLong) {
    throw new RangeError('a service has 1 to 200 bytes of UTF-8, a method at least 1, both together at most 254');
  }
  const value = Uint8Array.of(serviceBytes.length, ...serviceBytes, ...methodBytes);
  return { type: ROUTE, must_understand: true, name: 'route', value, service, method };
}

/** The extension that says how many milliseconds the sender still grants. */
export function deadline(ms) {
  return { type: DEADLINE, must_understand: false, name: 'deadline', value: Uint8Array.from(bigEndian(ms)), ms };
}

function bigEndian(word) {
  return [word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff];
}

function roundUp(bytes) {
  return (bytes + 3) & ~3;
}

const SERVICE_BYTES_MAX = 200;
const ROUTE_BYTES_MAX = 254;

/** Cuts a stream of bytes into frames, however it arrives. */
export class FrameReader {
  #bytes = new Uint8Array(0);

  /** The agreed bound on payloads; the opening has one of its own. */
  lengthMax = LENGTH_MAX;

  /** Adds bytes that arrived. */
  push(bytes) {
    if (this.#bytes.length === 0) {
      this.#bytes = bytes;
      return;
    }
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
  }

  /** The next whole frame, or null. @throws {FrameError} */
  next() {
    const frame = decodeFrame(this.#bytes, this.lengthMax);
    if (frame !== null) this.#bytes = this.#bytes.subarray(frame.bytes);
    return frame;
  }
}
