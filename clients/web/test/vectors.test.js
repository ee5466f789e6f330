// The frame codec against the vectors that every implementation shares.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { FrameError, FrameReader, decodeFrame, decodeHeader, encodeFrame, encodeHeader } from '../src/frame.js';

const vectors = (name) =>
  JSON.parse(readFileSync(new URL(`../../../docs/protocol/vectors/${name}.json`, import.meta.url), 'utf8'));
const bytesOf = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** An extension as the vectors write it. */
function plain(extension) {
  const { value, ...rest } = extension;
  return value === undefined ? rest : { ...rest, value_hex: hexOf(value) };
}

for (const vector of vectors('valid')) {
  test(`valid: ${vector.name}`, () => {
    const bytes = bytesOf(vector.hex);
    if (vector.header_only) {
      assert.deepEqual(decodeHeader(bytes), vector.header);
      assert.equal(hexOf(encodeHeader(vector.header)), vector.hex);
      return;
    }
    const frame = decodeFrame(bytes);
    assert.deepEqual(frame.header, vector.header);
    assert.deepEqual(frame.extensions.map(plain), vector.extensions);
    assert.equal(hexOf(frame.payload), vector.payload_hex);
    assert.equal(hexOf(encodeFrame(frame.header, frame.extensions, frame.payload)), vector.hex);
    for (let length = 0; length < bytes.length; length += 1) {
      assert.equal(decodeFrame(bytes.subarray(0, length)), null, `${length} bytes of it`);
    }
  });
}

for (const vector of vectors('invalid')) {
  test(`invalid: ${vector.name}`, () => {
    const bytes = bytesOf(vector.hex);
    // Bytes that are less than a header count as incomplete here, as the vectors' page permits.
    if (bytes.length < 20) {
      assert.equal(decodeFrame(bytes), null);
      return;
    }
    assert.throws(
      () => decodeFrame(bytes),
      (error) => error instanceof FrameError && error.reason === vector.error,
    );
  });
}

test('a conversation is cut into its frames wherever the bytes are cut', () => {
  const frames = vectors('session').map((entry) => entry.hex);
  const all = bytesOf(frames.join(''));
  for (const cut of [1, 7, 1000, all.length]) {
    const reader = new FrameReader();
    const seen = [];
    for (let at = 0; at < all.length; at += cut) {
      reader.push(all.subarray(at, at + cut));
      for (let frame = reader.next(); frame !== null; frame = reader.next()) {
        seen.push(hexOf(encodeFrame(frame.header, frame.extensions, frame.payload)));
      }
    }
    assert.deepEqual(seen, frames);
  }
});
