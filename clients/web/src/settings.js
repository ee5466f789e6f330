/** The settings of the opening and the failures of the end: docs/protocol/session.md#settings and #failure. */

const U32 = 4;
const FIELDS = [
  { id: 3, name: 'maxFrame', bytes: U32, least: 4096, most: 1024 * 1024 },
  { id: 4, name: 'maxMessage', bytes: U32, least: 4096, most: 64 * 1024 * 1024 },
  { id: 5, name: 'maxExchanges', bytes: 2, least: 1, most: 0xffff },
  { id: 6, name: 'maxStreams', bytes: U32, least: 0, most: 0xffffffff },
  { id: 7, name: 'windowSystem', bytes: U32, least: 0, most: 0xffffffff },
  { id: 8, name: 'windowJob', bytes: U32, least: 0, most: 0xffffffff },
  { id: 9, name: 'windowData', bytes: U32, least: 0, most: 0xffffffff },
  { id: 10, name: 'windowConnection', bytes: U32, least: 0, most: 0xffffffff },
  { id: 11, name: 'minPingMs', bytes: U32, least: 0, most: 0xffffffff },
];

/** What this client accepts: small frames, because a page has one thread, and windows for a few megabytes in flight. */
export const OURS = Object.freeze({
  maxFrame: 16 * 1024,
  maxMessage: 16 * 1024 * 1024,
  maxExchanges: 256,
  maxStreams: 256,
  windowSystem: 256 * 1024,
  windowJob: 256 * 1024,
  windowData: 1024 * 1024,
  windowConnection: 4 * 1024 * 1024,
  minPingMs: 5000,
});

/** The peer broke a rule of the session; `code` goes into our ERROR. */
export class Fault extends Error {
  constructor(code, message) {
    super(`the peer broke the protocol: ${message}; the connection is closed`);
    this.name = 'Fault';
    this.code = code;
  }
}

export const PROTOCOL = 100;
export const FRAME_SIZE = 102;
export const FLOW_CONTROL = 103;
export const UNEXPECTED_FRAME = 104;
export const EXCESSIVE_LOAD = 105;
export const CANCELLED = 300;
export const DEADLINE_EXCEEDED = 301;
export const REFUSED = 302;
export const NOT_FOUND = 303;
export const HANDLER_PANICKED = 505;

/** Header and extensions at their longest. */
export const HEADER_BYTES_MAX = 1040;

/** Writes settings, with one value that means nothing so that receivers stay able to ignore it. */
export function encodeSettings(settings) {
  const bytes = [];
  const put = (id, value) => bytes.push(id >>> 8, id & 0xff, 0, value.length, ...value);
  put(1, [2]);
  put(2, [0, 0, 0, 0, 0, 0, 0, 0]);
  for (const { id, name, bytes: size } of FIELDS) {
    const value = settings[name];
    put(id, Array.from({ length: size }, (_, index) => Math.floor(value / 256 ** (size - 1 - index)) & 0xff));
  }
  put(12, []);
  put(0x0a0a, []);
  return Uint8Array.from(bytes);
}

/** Reads the peer's settings. @throws {Fault} */
export function decodeSettings(payload) {
  const bad = (why) => new Fault(PROTOCOL, `bad settings, ${why}`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const values = new Map();
  for (let at = 0; at < payload.length; ) {
    if (payload.length - at < 4) throw bad('a value reaches past the end');
    const [id, length] = [view.getUint16(at), view.getUint16(at + 2)];
    if (payload.length - at - 4 < length) throw bad('a value reaches past the end');
    if (values.has(id) && id <= 12) throw bad(`value ${id} comes twice`);
    values.set(id, payload.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  if (!values.get(1)?.includes(2)) throw bad('version 2 is not spoken');
  const settings = {};
  for (const { id, name, bytes: size, least, most } of FIELDS) {
    const value = values.get(id);
    if (value === undefined || value.length !== size) throw bad(`value ${id} is missing or has another length`);
    const number = value.reduce((number, byte) => number * 256 + byte, 0);
    if (number < least || number > most) throw bad(`value ${id} is out of range`);
    settings[name] = number;
  }
  const windowLeast = 2 * (settings.maxFrame + HEADER_BYTES_MAX);
  for (const name of ['windowSystem', 'windowJob', 'windowData', 'windowConnection']) {
    if (settings[name] < windowLeast) throw bad(`${name} is out of range`);
  }
  if (settings.maxMessage < settings.maxFrame) throw bad('maxMessage is less than maxFrame');
  return settings;
}

/** Why the peer, or the connection, did not do what was asked. `code` is one of docs/protocol/errors.md. */
export class Failure extends Error {
  constructor(code, text, retryAfterMs = 0) {
    super(`${code}: ${text}`);
    this.name = 'Failure';
    this.code = code;
    this.text = text;
    this.retryAfterMs = retryAfterMs;
  }
}

export function encodeFailure(code, text = '') {
  const encoded = new TextEncoder().encode(text).subarray(0, TEXT_BYTES_MAX);
  const bytes = new Uint8Array(8 + encoded.length);
  new DataView(bytes.buffer).setUint32(0, code);
  bytes.set(encoded, 8);
  return bytes;
}

/** @throws {Fault} */
export function decodeFailure(payload) {
  if (payload.length < 8 || payload.length > 8 + TEXT_BYTES_MAX) throw new Fault(PROTOCOL, 'a malformed failure');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  return new Failure(view.getUint32(0), new TextDecoder().decode(payload.subarray(8)), view.getUint32(4));
}

const TEXT_BYTES_MAX = 1024;
