// The session against an acceptor by hand: what it sends, what it takes, and what it refuses.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Flags, FrameReader, Kind, encodeFrame, route } from '../src/frame.js';
import { Session } from '../src/session.js';
import { Failure, OURS, decodeFailure, encodeFailure, encodeSettings } from '../src/settings.js';

/** A session, and the other end of it. */
class Peer {
  #reader = new FrameReader();
  frames = [];

  constructor() {
    this.session = new Session((bytes) => {
      this.#reader.push(bytes);
      for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) this.frames.push(frame);
    });
    this.session.begin();
  }

  /** The opening, with settings of the peer that differ from ours. */
  async open(changed = {}) {
    assert.equal(this.take().header.type, Kind.HELLO);
    this.send({ type: Kind.HELLO_ACK }, encodeSettings({ ...OURS, ...changed }));
    await this.session.opened;
    return this.session;
  }

  send(header, payload, extensions = []) {
    this.session.input(encodeFrame(header, extensions, payload));
  }

  /** The next frame that the session sent. */
  take() {
    const frame = this.frames.shift();
    assert.ok(frame, 'the session sent nothing');
    return frame;
  }

  /** Expects the session to end with an ERROR of this code. */
  async refused(code) {
    const last = this.frames.at(-1);
    assert.equal(last?.header.type, Kind.ERROR);
    assert.equal(decodeFailure(last.payload).code, code);
    assert.equal((await this.session.closed).code, code);
  }
}

const text = new TextEncoder();
const bytes = (length) => new Uint8Array(length).fill(7);

test('a call is one frame each way, and its slot gets another generation', async () => {
  const peer = new Peer();
  const session = await peer.open();
  const correlations = [];
  for (const word of ['one', 'two']) {
    const call = session.call('echo', 'echo', word);
    const { header, extensions, payload } = peer.take();
    assert.equal(header.type, Kind.REQUEST);
    assert.equal(header.stream_id, 101);
    assert.deepEqual([extensions[0].service, extensions[0].method], ['echo', 'echo']);
    peer.send({ type: Kind.RESPONSE, stream_id: 101, correlation: header.correlation }, payload.slice());
    assert.deepEqual(await call, text.encode(word));
    correlations.push(header.correlation);
  }
  assert.deepEqual(correlations, [0x10000, 0x20000]);
});

test('what the peer asks of the page is answered on the lane that it came on', async () => {
  const peer = new Peer();
  const session = await peer.open();
  session.handle('page', 'title', async () => 'Valkyrie');
  session.handle('page', 'fail', () => {
    throw new Failure(404, 'no');
  });
  for (const [method, type, correlation] of [
    ['title', Kind.RESPONSE, 0x10000],
    ['fail', Kind.RESET, 0x10001],
    ['missing', Kind.RESET, 0x10002],
  ]) {
    peer.send({ type: Kind.REQUEST, stream_id: 100, correlation }, bytes(0), [route('page', method)]);
    await new Promise(setImmediate);
    const { header, payload } = peer.take();
    assert.deepEqual([header.type, header.stream_id, header.correlation], [type, 100, correlation]);
    if (method === 'title') assert.deepEqual(payload, text.encode('Valkyrie'));
    else assert.equal(decodeFailure(payload).code, method === 'fail' ? 404 : 303);
  }
});

test('a message stays within credit and goes on when there is more', async () => {
  const peer = new Peer();
  const window = 2 * (4096 + 1040);
  const session = await peer.open({ maxFrame: 4096, windowJob: window });
  const call = session.call('echo', 'echo', bytes(20_000));
  const sum = () => peer.frames.reduce((total, frame) => total + frame.bytes, 0);
  assert.ok(sum() <= window && peer.frames.length === 2, `${sum()} bytes`);
  assert.ok(peer.frames.every(({ header }) => header.flags & Flags.MORE));
  const credit = new Uint8Array(12);
  new DataView(credit.buffer).setUint32(0, 101);
  new DataView(credit.buffer).setBigUint64(4, 100_000n);
  peer.send({ type: Kind.CREDIT }, credit);
  assert.equal(peer.frames.length, 5);
  const { header } = peer.frames.at(-1);
  assert.equal(header.flags, 0);
  peer.send({ type: Kind.RESPONSE, stream_id: 101, correlation: header.correlation }, bytes(1));
  assert.equal((await call).length, 1);
});

test('credit is returned as the application takes messages, not before', async () => {
  const peer = new Peer();
  const session = await peer.open();
  const stream = session.open('echo', 'stream');
  const { header } = peer.take();
  const block = bytes(16 * 1024);
  for (let at = 0; at < 12; at += 1) peer.send({ type: Kind.DATA, stream_id: header.stream_id }, block);
  assert.equal(peer.frames.length, 0);
  for (let at = 0; at < 12; at += 1) await stream.next();
  const credits = peer.frames.filter((frame) => frame.header.type === Kind.CREDIT);
  assert.equal(credits.length, 1);
});

test('a stream ends when both sides have ended it, and its number is used again after STREAM_ACK', async () => {
  const peer = new Peer();
  const session = await peer.open();
  const stream = session.open('echo', 'stream');
  const id = peer.take().header.stream_id;
  await stream.send('x', { last: true });
  const sent = peer.take();
  assert.equal(sent.header.flags, Flags.EOS);
  peer.send({ type: Kind.STREAM_CLOSE, stream_id: id }, bytes(0));
  assert.equal(await stream.next(), null);
  assert.notEqual(session.open('echo', 'stream').id, id);
  const final = new Uint8Array(8);
  peer.send({ type: Kind.STREAM_ACK, flags: Flags.ACK, stream_id: id }, final);
  assert.equal(session.open('echo', 'stream').id, id);
});

test('a stream that the peer opens is served, and acknowledged at its end', async () => {
  const peer = new Peer();
  const session = await peer.open();
  session.acceptStreams('page', 'log', async (stream) => {
    for await (const message of stream) await stream.send(message);
    stream.finish();
  });
  peer.send({ type: Kind.OPEN, stream_id: 102 }, bytes(0), [route('page', 'log')]);
  peer.send({ type: Kind.DATA, stream_id: 102, flags: Flags.EOS }, text.encode('line'));
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  const kinds = peer.frames.map(({ header }) => header.type);
  assert.deepEqual(kinds, [Kind.DATA, Kind.STREAM_CLOSE, Kind.STREAM_ACK]);
  const final = new DataView(peer.frames[2].payload.slice().buffer).getBigUint64(0);
  assert.equal(final, BigInt(peer.frames[0].bytes));
});

test('a ping is answered and a GREASE frame is ignored', async () => {
  const peer = new Peer();
  await peer.open();
  peer.send({ type: 0xea, flags: Flags.ACK }, bytes(3));
  peer.send({ type: Kind.PING }, bytes(8));
  const { header, payload } = peer.take();
  assert.deepEqual([header.type, header.flags], [Kind.PONG, Flags.ACK]);
  assert.deepEqual(payload.slice(), bytes(8));
});

test('the end of the connection fails what waits', async () => {
  const peer = new Peer();
  const session = await peer.open();
  const call = session.call('echo', 'echo');
  const stream = session.open('echo', 'stream');
  const next = stream.next();
  peer.send({ type: Kind.CLOSE }, encodeFailure(0, 'bye'));
  await assert.rejects(call, Failure);
  await assert.rejects(next, Failure);
  assert.equal(await session.closed, null);
  await assert.rejects(session.call('echo', 'echo'), Failure);
});

const BAD = {
  'no opening': [104, (peer) => peer.send({ type: Kind.PING }, bytes(8)), { unopened: true }],
  'an answer to no question': [100, (peer) => peer.send({ type: Kind.RESPONSE, stream_id: 101, correlation: 0x10000 }, bytes(0))],
  'data on a stream that is not open': [100, (peer) => peer.send({ type: Kind.DATA, stream_id: 103 }, bytes(1))],
  'an open of our parity': [100, (peer) => peer.send({ type: Kind.OPEN, stream_id: 103 }, bytes(0))],
  'a request on our lane': [104, (peer) => peer.send({ type: Kind.REQUEST, stream_id: 101, correlation: 0x10000 }, bytes(0))],
  'a frame that is too long': [102, (peer) => peer.send({ type: Kind.NOTIFY, stream_id: 100 }, bytes(OURS.maxFrame + 1))],
  'more bytes than were granted': [
    103,
    (peer) => {
      const id = peer.session.open('echo', 'stream').id;
      for (let at = 0; at < 17; at += 1) peer.send({ type: Kind.DATA, stream_id: id }, bytes(OURS.maxFrame));
    },
  ],
  'fragments of two messages': [
    100,
    (peer) => {
      peer.send({ type: Kind.NOTIFY, flags: Flags.MORE, stream_id: 100 }, bytes(2000));
      peer.send({ type: Kind.REQUEST, stream_id: 100, correlation: 0x10000 }, bytes(1));
    },
  ],
  'a control frame on a stream': [104, (peer) => peer.send({ type: Kind.PING, stream_id: 101 }, bytes(8))],
  'an impossible limit': [103, (peer) => peer.send({ type: Kind.CREDIT }, bytes(12).fill(0xff))],
  'a critical frame of unknown type': [104, (peer) => peer.send({ type: 0x4e, flags: Flags.CRITICAL }, bytes(0))],
  'bytes that are no frame': [100, (peer) => peer.session.input(bytes(20))],
};

for (const [name, [code, act, { unopened } = {}]] of Object.entries(BAD)) {
  test(`refused: ${name}`, async () => {
    const peer = new Peer();
    if (!unopened) await peer.open();
    act(peer);
    await peer.refused(code);
  });
}
