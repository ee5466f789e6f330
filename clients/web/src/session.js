/**
 * The session of the side that dialled: opening, calls both ways, streams both ways, credit, keepalive's answers, the end.
 * It is given bytes and a function to write bytes with; it knows nothing of WebSocket. docs/protocol/session.md is its
 * specification. Of it, this client leaves out: resuming, draining of its own, and pings of its own.
 *
 * Read {@link Session#call} and {@link Session#open} first.
 */

import { Flags, FrameError, FrameReader, Kind, deadline, encodeFrame, isGrease, route } from './frame.js';
import { CLASSES, LANES, ORDER, classOf, isOurs } from './classes.js';
import { Flow, Stream } from './stream.js';
import {
  CANCELLED,
  DEADLINE_EXCEEDED,
  EXCESSIVE_LOAD,
  FLOW_CONTROL,
  FRAME_SIZE,
  Failure,
  Fault,
  HANDLER_PANICKED,
  NOT_FOUND,
  OURS,
  PROTOCOL,
  REFUSED,
  UNEXPECTED_FRAME,
  decodeFailure,
  decodeSettings,
  encodeFailure,
  encodeSettings,
} from './settings.js';

const OPENING_BYTES_MAX = 4096;
const CRITICAL_BYTES_MAX = 4096;
const STREAM_LIMITS = 0xffffffff;
const EMPTY = new Uint8Array(0);

const text = new TextEncoder();

export class Session {
  #write;
  #ready;
  #reader = new FrameReader();
  #theirs = null;
  #flows = new Map();
  #streams = new Map();
  /** Streams that we have reset, until the peer acknowledges. */
  #resetting = new Map();
  #exchanges = new Map();
  #generations = new Map();
  #slotsInUse = new Set();
  #serving = new Map();
  #handlers = new Map();
  #acceptors = new Map();
  #opened = 0;
  #openLimit = 0;
  #peerOpened = 0;
  #peerOver = 0;
  #peerOpenLimit = OURS.maxStreams;
  #sent = 0;
  #limit = 0;
  #received = 0;
  #unread = 0;
  #announced = OURS.windowConnection;
  #over = null;
  #draining = false;
  #opening;

  /**
   * @param {(bytes: Uint8Array) => void} write hands bytes to the link
   * @param {() => boolean} ready whether the link wants more; {@link Session#pump} is to be called when it does again
   */
  constructor(write, ready = () => true) {
    this.#write = write;
    this.#ready = ready;
    this.#reader.lengthMax = OPENING_BYTES_MAX;
    /** Kept when the session is over, with the failure that ended it; null for an orderly end. */
    this.closed = new Promise((resolve) => {
      this.resolveClosed = resolve;
    });
    /** Kept when the session is open. */
    this.opened = new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
    });
    this.opened.catch(() => {});
  }

  /** Sends the opening. */
  begin() {
    this.#control(Kind.HELLO, 0, encodeSettings(OURS));
  }

  /**
   * Calls a method and waits for its answer.
   * @param {{signal?: AbortSignal, deadlineMs?: number, streamClass?: string}} [options]
   * @returns {Promise<Uint8Array>}
   * @throws {Failure} when the peer says no, or the connection ends
   */
  call(service, method, payload = EMPTY, { signal, deadlineMs, streamClass = 'job' } = {}) {
    return new Promise((resolve, reject) => {
      this.#check();
      if (this.#draining) throw new Failure(602, 'the peer is draining; nothing was sent');
      signal?.throwIfAborted();
      const flow = this.#flow(CLASSES[streamClass].lane);
      const correlation = this.#correlation();
      const extensions = [route(service, method)];
      if (deadlineMs !== undefined) extensions.unshift(deadline(deadlineMs));
      let timer;
      const exchange = { flow, abandoned: false };
      const settle = (how) => (value) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        how(value);
      };
      exchange.resolve = settle(resolve);
      exchange.reject = settle(reject);
      const abandon = (failure) => {
        if (exchange.abandoned) return;
        exchange.abandoned = true;
        exchange.reject(failure);
        // The slot stays taken until the answer comes; the cancel goes behind the request.
        const cancel = encodeFailure(CANCELLED);
        this.#enqueue(flow, this.#frame(flow, Kind.RESET, 0, correlation, [], cancel), { free: true });
      };
      const onAbort = () => abandon(signal.reason ?? new Failure(CANCELLED, 'the caller gave up'));
      signal?.addEventListener('abort', onAbort);
      if (deadlineMs !== undefined) {
        timer = setTimeout(() => abandon(new Failure(DEADLINE_EXCEEDED, 'no answer came in time')), deadlineMs);
      }
      this.#exchanges.set(correlation, exchange);
      this.#message(flow, { type: Kind.REQUEST, correlation }, extensions, bytesOf(payload));
    });
  }

  /** Tells the peer something and wants no answer. */
  notify(service, method, payload = EMPTY, { streamClass = 'job' } = {}) {
    this.#check();
    const flow = this.#flow(CLASSES[streamClass].lane);
    const flags = Flags.NO_REPLY | (streamClass === 'bulk' ? Flags.BEST_EFFORT : 0);
    return this.sendMessage(flow, { type: Kind.NOTIFY, flags }, [route(service, method)], payload);
  }

  /** Opens a stream to a method. */
  open(service, method, payload = EMPTY, { streamClass = 'job' } = {}) {
    this.#check();
    if (this.#opened >= this.#openLimit) throw new Failure(REFUSED, 'the peer permits no more streams for now');
    const { first, last, lane } = CLASSES[streamClass];
    let id = first % 2 === 1 ? first : first + 1;
    while (id === lane || this.#streams.has(id) || this.#resetting.has(id)) id += 2;
    if (id > last) throw new Failure(REFUSED, 'every stream of this class is in use');
    this.#opened += 1;
    const stream = this.#admit(id);
    this.#enqueue(stream.flow, this.#frame(stream.flow, Kind.OPEN, 0, 0, [route(service, method)], bytesOf(payload)), {
      free: true,
    });
    return stream;
  }

  /** Serves calls of the peer: `handler(payload, {signal})` gives the answer or throws a {@link Failure}. */
  handle(service, method, handler) {
    this.#handlers.set(`${service}\0${method}`, handler);
  }

  /** Serves streams that the peer opens: `handler(stream, payload)`. */
  acceptStreams(service, method, handler) {
    this.#acceptors.set(`${service}\0${method}`, handler);
  }

  /** Ends the session. What has not gone out and what has not been answered is given up. */
  close(text = '') {
    if (this.#over !== null) return;
    this.#control(Kind.CLOSE, 0, encodeFailure(0, text));
    this.#end(null);
  }

  /** Takes bytes that arrived, and answers what they ask. */
  input(bytes) {
    if (this.#over !== null) return;
    this.#reader.push(bytes);
    try {
      for (let frame = this.#reader.next(); frame !== null && this.#over === null; frame = this.#reader.next()) {
        this.#take(frame);
      }
    } catch (error) {
      if (!(error instanceof Fault || error instanceof FrameError)) throw error;
      const code = error instanceof Fault ? error.code : frameErrorCode(error);
      this.#control(Kind.ERROR, 0, encodeFailure(code, error.message));
      this.#end(new Failure(code, error.message));
      return;
    }
    this.pump();
  }

  /** The link is gone. */
  lost(why) {
    this.#end(new Failure(600, `the connection was lost: ${why}`));
  }

  /** Hands the link what may go, most urgent class first, streams of a class in turn. */
  pump() {
    if (this.#theirs === null || this.#over !== null) return;
    for (const kind of ORDER) {
      const flows = [...this.#flows.values()].filter((flow) => classOf(flow.id) === kind);
      for (let moved = true; moved; ) {
        moved = false;
        for (const flow of flows) {
          if (!this.#ready()) return;
          moved = this.#sendOne(flow) || moved;
        }
      }
    }
  }

  /** For streams: queues a message, in fragments if need be. */
  sendMessage(flow, what, extensions, payload) {
    this.#check();
    return this.#message(flow, what, extensions, bytesOf(payload));
  }

  /** For streams. */
  sendEnd(flow) {
    this.#enqueue(flow, this.#frame(flow, Kind.STREAM_CLOSE, 0, 0, [], EMPTY), { free: true, ends: true });
  }

  /** For streams. */
  resetStream(stream, code, text) {
    const { flow } = stream;
    if (this.#streams.get(flow.id) !== stream) return;
    const neverSent = flow.queue.some(({ bytes }) => bytes[3] === Kind.OPEN);
    this.#drop(stream, new Failure(code, text || 'the stream was reset by this side'));
    if (neverSent) {
      this.#opened -= 1;
      return;
    }
    this.#resetting.set(flow.id, flow);
    const final = new Uint8Array(8);
    new DataView(final.buffer).setBigUint64(0, BigInt(flow.counted ? flow.sent : 0));
    this.#write(this.#frame(flow, Kind.RESET, 0, 0, [], concat(final, encodeFailure(code, text))));
  }

  /** For streams: the application took bytes that were counted. */
  taken(flow, counted) {
    flow.unread -= counted;
    this.#unread -= counted;
    this.#grant(flow);
  }

  #message(flow, { type, correlation = 0, flags = 0, last = false }, extensions, payload) {
    if (payload.length > this.#theirs.maxMessage) {
      return Promise.reject(new RangeError('the message is longer than the peer accepts; nothing was sent'));
    }
    return new Promise((resolve, reject) => {
      const step = this.#theirs.maxFrame;
      for (let at = 0; at === 0 || at < payload.length; at += step) {
        const isLast = at + step >= payload.length;
        const more = isLast ? (last ? Flags.EOS : 0) : Flags.MORE;
        const part = payload.subarray(at, at + step);
        const bytes = this.#frame(flow, type, flags | more, correlation, at === 0 ? extensions : [], part);
        this.#enqueue(flow, bytes, { ends: isLast && last, done: isLast ? { resolve, reject } : undefined }, false);
      }
      this.pump();
    });
  }

  #frame(flow, type, flags, correlation, extensions, payload) {
    return encodeFrame({ type, flags, priority: flow.priority, stream_id: flow.id, correlation }, extensions, payload);
  }

  #enqueue(flow, bytes, { free = false, ends = false, done } = {}, pump = true) {
    flow.queue.push({ bytes, free, ends, done });
    if (pump) this.pump();
  }

  /** Sends the first frame of a queue, if credit allows. */
  #sendOne(flow) {
    const head = flow.queue[0];
    if (head === undefined) return false;
    const cost = head.free || !flow.counted ? 0 : head.bytes.length;
    if (flow.sent + cost > flow.limit || this.#sent + cost > this.#limit) return false;
    flow.queue.shift();
    flow.sent += cost;
    this.#sent += cost;
    this.#write(head.bytes);
    head.done?.resolve();
    if (head.ends) {
      flow.ended = true;
      this.#retire(flow);
    }
    return true;
  }

  #control(type, flags, payload) {
    this.#write(encodeFrame({ type, flags, priority: 255, stream_id: 0 }, [], payload));
  }

  #check() {
    if (this.#over !== null) throw this.#over.failure ?? new Failure(600, 'the connection is closed');
    if (this.#theirs === null) throw new Error('the session is not open yet; await `opened` first');
  }

  /** A slot that is free, with another generation than it had last. */
  #correlation() {
    for (let slot = 0; slot < this.#theirs.maxExchanges; slot += 1) {
      if (this.#slotsInUse.has(slot)) continue;
      const generation = ((this.#generations.get(slot) ?? 0) % 0xffff) + 1;
      this.#generations.set(slot, generation);
      this.#slotsInUse.add(slot);
      return generation * 0x10000 + slot;
    }
    throw new Failure(REFUSED, 'as many calls as the peer permits are waiting for answers; nothing was sent');
  }

  #flow(id) {
    const flow = this.#flows.get(id);
    if (flow === undefined) throw new Fault(PROTOCOL, `stream ${id} is not open`);
    return flow;
  }

  #admit(id) {
    const flow = new Flow(id, OURS, this.#theirs);
    const stream = new Stream(this, flow);
    this.#flows.set(id, flow);
    this.#streams.set(id, stream);
    return stream;
  }

  #take({ header, extensions, payload, bytes }) {
    const { type, flags, stream_id: id } = header;
    if (this.#theirs === null) {
      this.#open(header, payload);
      return;
    }
    if (type <= Kind.CREDIT) {
      if (id !== 0) throw new Fault(UNEXPECTED_FRAME, 'a control frame on a stream');
      this.#takeControl(header, payload);
      return;
    }
    switch (type) {
      case Kind.OPEN:
        this.#takeOpen(header, extensions, payload);
        return;
      case Kind.RESET:
        this.#takeReset(header, payload);
        return;
      case Kind.STREAM_ACK:
        this.#takeAck(id, payload);
        return;
      case Kind.STREAM_CLOSE:
        this.#peerEnd(this.#live(id));
        return;
      case Kind.REQUEST:
      case Kind.RESPONSE:
      case Kind.NOTIFY:
      case Kind.DATA:
        this.#takeFragment(header, extensions, payload, bytes);
        return;
      default:
        if (isGrease(type) || !KNOWN_ELSEWHERE.has(type)) {
          if (flags & Flags.CRITICAL) throw new Fault(UNEXPECTED_FRAME, 'a critical frame of unknown type');
          return;
        }
        throw new Fault(UNEXPECTED_FRAME, `a frame of type ${type}, for which this side has no use`);
    }
  }

  #open({ type, stream_id: id }, payload) {
    if (id === 0 && (type === Kind.ERROR || type === Kind.CLOSE)) {
      this.#end(decodeFailure(payload));
      return;
    }
    if (type !== Kind.HELLO_ACK || id !== 0) throw new Fault(UNEXPECTED_FRAME, 'something else than an opening');
    this.#theirs = decodeSettings(payload);
    this.#limit = this.#theirs.windowConnection;
    this.#openLimit = this.#theirs.maxStreams;
    this.#reader.lengthMax = OURS.maxFrame;
    for (const lane of LANES) this.#flows.set(lane, new Flow(lane, OURS, this.#theirs));
    this.#opening.resolve();
  }

  #takeControl({ type }, payload) {
    switch (type) {
      case Kind.PING:
        if (payload.length !== 8) throw new Fault(PROTOCOL, 'a ping that has not 8 bytes');
        this.#control(Kind.PONG, Flags.ACK, payload);
        return;
      case Kind.CREDIT:
        this.#takeCredit(payload);
        return;
      case Kind.DRAIN:
        this.#draining = true;
        return;
      case Kind.ERROR:
        this.#end(decodeFailure(payload));
        return;
      case Kind.CLOSE: {
        const failure = decodeFailure(payload);
        this.#end(failure.code === 0 ? null : failure);
        return;
      }
      default:
        throw new Fault(UNEXPECTED_FRAME, `a control frame of type ${type}`);
    }
  }

  #takeCredit(payload) {
    if (payload.length === 0 || payload.length % 12 !== 0) throw new Fault(PROTOCOL, 'a malformed CREDIT');
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    for (let at = 0; at < payload.length; at += 12) {
      const [id, wide] = [view.getUint32(at), view.getBigUint64(at + 4)];
      if (wide > 2n ** 62n) throw new Fault(FLOW_CONTROL, 'an impossible limit');
      const limit = Number(wide);
      if (id === 0) {
        this.#limit = Math.max(this.#limit, limit);
      } else if (id === STREAM_LIMITS) {
        this.#openLimit = Math.max(this.#openLimit, limit);
      } else {
        const flow = this.#flows.get(id);
        if (flow !== undefined) flow.limit = Math.max(flow.limit, limit);
      }
    }
  }

  #takeOpen({ stream_id: id }, extensions, payload) {
    const taken = this.#flows.has(id) || this.#resetting.has(id);
    if (id === 0 || isOurs(id) || taken) throw new Fault(PROTOCOL, `OPEN of stream ${id}`);
    if (payload.length > OPENING_BYTES_MAX) throw new Fault(FRAME_SIZE, 'an OPEN that is too long');
    this.#peerOpened += 1;
    if (this.#peerOpened > this.#peerOpenLimit) throw new Fault(PROTOCOL, 'more streams than were granted');
    const stream = this.#admit(id);
    const handler = this.#acceptors.get(routeOf(extensions));
    if (handler === undefined) {
      this.resetStream(stream, NOT_FOUND, 'this page serves no such stream');
      return;
    }
    Promise.resolve()
      .then(() => handler(stream, payload.slice()))
      .catch((error) => stream.reset(error instanceof Failure ? error.code : HANDLER_PANICKED, String(error.message)));
  }

  /** A stream that is open, and no lane. */
  #live(id) {
    const stream = this.#streams.get(id);
    if (stream === undefined && !this.#resetting.has(id)) throw new Fault(PROTOCOL, `stream ${id} is not open`);
    return stream ?? null;
  }

  #peerEnd(stream) {
    if (stream === null) return;
    if (stream.isPeerEnded || stream.flow.partial !== null) throw new Fault(PROTOCOL, 'an end where none can be');
    stream.peerEnd();
    this.#retire(stream.flow);
  }

  /** When both directions have ended, the side that did not open says so. */
  #retire(flow) {
    const stream = this.#streams.get(flow.id);
    if (stream === undefined || !flow.ended || !stream.isPeerEnded || isOurs(flow.id)) return;
    this.#acknowledge(flow);
    this.#forget(flow.id);
  }

  #acknowledge(flow) {
    const final = new Uint8Array(8);
    new DataView(final.buffer).setBigUint64(0, BigInt(flow.counted ? flow.sent : 0));
    this.#write(this.#frame(flow, Kind.STREAM_ACK, Flags.ACK, 0, [], final));
  }

  #forget(id) {
    this.#flows.delete(id);
    this.#streams.delete(id);
    if (isOurs(id)) return;
    this.#peerOver += 1;
    const limit = OURS.maxStreams + this.#peerOver;
    if (limit - this.#peerOpenLimit >= OURS.maxStreams / 2) {
      this.#peerOpenLimit = limit;
      this.#credit([[STREAM_LIMITS, limit]]);
    }
  }

  #takeAck(id, payload) {
    if (payload.length !== 8) throw new Fault(PROTOCOL, 'a malformed STREAM_ACK');
    const flow = this.#resetting.get(id);
    if (flow !== undefined) {
      this.#checkFinal(flow, payload);
      this.#resetting.delete(id);
      if (!isOurs(id)) this.#forget(id);
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined || !isOurs(id) || !stream.flow.ended || !stream.isPeerEnded) {
      throw new Fault(PROTOCOL, 'a STREAM_ACK for a stream that is not over');
    }
    this.#checkFinal(stream.flow, payload);
    this.#forget(id);
  }

  #checkFinal(flow, payload) {
    const final = Number(new DataView(payload.buffer, payload.byteOffset, payload.length).getBigUint64(0));
    if (final !== (flow.counted ? flow.received : 0)) throw new Fault(FLOW_CONTROL, 'a wrong final offset');
  }

  /** Ends a stream for the application; its unread bytes count as read for the connection. */
  #drop(stream, failure) {
    const { flow } = stream;
    flow.partial = null;
    for (const { done } of flow.queue.splice(0)) done?.reject(failure);
    this.#unread -= stream.fail(failure);
    flow.unread = 0;
    this.#streams.delete(flow.id);
    this.#flows.delete(flow.id);
    this.#grant(null);
  }

  #takeReset(header, payload) {
    const { stream_id: id, correlation, flags } = header;
    if (correlation !== 0) {
      this.#takeRefusal(id, correlation, (flags & Flags.ACK) !== 0, payload);
      return;
    }
    if (payload.length < 8) throw new Fault(PROTOCOL, 'a malformed RESET');
    const crossing = this.#resetting.get(id);
    const stream = this.#streams.get(id);
    if (stream === undefined && crossing === undefined) {
      if (LANES.includes(id) || isOurs(id)) throw new Fault(PROTOCOL, 'a RESET of a stream that is not open');
      return;
    }
    const flow = crossing ?? stream.flow;
    this.#checkFinal(flow, payload.subarray(0, 8));
    const failure = decodeFailure(payload.subarray(8));
    if (stream !== undefined) this.#drop(stream, failure);
    this.#acknowledge(flow);
    if (crossing === undefined && !isOurs(id)) this.#forget(id);
  }

  /** A call that failed, or a call of the peer's that it gives up. */
  #takeRefusal(id, correlation, isAnswer, payload) {
    const failure = decodeFailure(payload);
    if (isAnswer) {
      this.#answer(id, correlation).reject(failure);
      return;
    }
    this.#serving.get(`${id}/${correlation}`)?.abort(failure);
  }

  /** The exchange that an answer is for; its slot is free again. */
  #answer(id, correlation) {
    const exchange = this.#exchanges.get(correlation);
    if (exchange === undefined || exchange.flow.id !== id) throw new Fault(PROTOCOL, 'an answer to no question');
    this.#exchanges.delete(correlation);
    this.#slotsInUse.delete(correlation & 0xffff);
    if (exchange.abandoned) return { resolve() {}, reject() {} };
    return exchange;
  }

  #takeFragment(header, extensions, payload, frameBytes) {
    const { type, flags, stream_id: id, correlation } = header;
    const resetting = this.#resetting.get(id);
    const flow = resetting ?? this.#flow(id);
    const counted = flow.counted ? frameBytes : 0;
    flow.received += counted;
    this.#received += counted;
    if (flow.received > flow.announced && flow.counted) throw new Fault(FLOW_CONTROL, 'more bytes than were granted');
    if (this.#received > this.#announced) throw new Fault(FLOW_CONTROL, 'more bytes than were granted');
    if (id === 0 && (payload.length > CRITICAL_BYTES_MAX || flags & Flags.MORE)) {
      throw new Fault(FRAME_SIZE, 'a critical message that is too long');
    }
    if (resetting !== undefined) {
      this.#grant(null);
      return;
    }
    const key = `${type}/${correlation}`;
    const partial = (flow.partial ??= { key, extensions, parts: [], bytes: 0, counted: 0 });
    if (partial.key !== key) throw new Fault(PROTOCOL, 'fragments of several messages');
    if (partial.parts.length > 0 && extensions.length > 0) throw new Fault(PROTOCOL, 'extensions behind a first fragment');
    partial.parts.push(payload);
    partial.bytes += payload.length;
    partial.counted += counted;
    if (partial.bytes > OURS.maxMessage) throw new Fault(FRAME_SIZE, 'a message that is too long');
    if (flags & Flags.MORE) {
      if (payload.length === 0) throw new Fault(PROTOCOL, 'a fragment without a byte');
      if (partial.parts.length > FRAGMENTS_MAX) throw new Fault(EXCESSIVE_LOAD, 'too many fragments');
      this.#grant(flow);
      return;
    }
    flow.partial = null;
    // One copy, so that a message does not keep the buffer that it arrived in.
    const message = concat(...partial.parts);
    this.#deliver(flow, type, correlation, partial, message, (flags & Flags.EOS) !== 0);
  }

  #deliver(flow, type, correlation, { extensions, counted }, message, last) {
    switch (type) {
      case Kind.DATA: {
        const stream = this.#streams.get(flow.id);
        if (stream === undefined || stream.isPeerEnded) throw new Fault(UNEXPECTED_FRAME, 'DATA where none can be');
        flow.unread += counted;
        this.#unread += counted;
        stream.arrived(message, counted);
        if (last) this.#peerEnd(stream);
        break;
      }
      case Kind.RESPONSE:
        this.#answer(flow.id, correlation).resolve(message);
        break;
      case Kind.REQUEST:
        checkLane(flow.id);
        this.#serve(flow, correlation, extensions, message);
        break;
      default:
        checkLane(flow.id);
        if (correlation !== 0) throw new Fault(PROTOCOL, 'a notification with a correlation');
        this.#handlers.get(routeOf(extensions))?.(message, {});
    }
    this.#grant(flow);
  }

  #serve(flow, correlation, extensions, message) {
    const slot = correlation & 0xffff;
    const name = `${flow.id}/${correlation}`;
    const inUse = [...this.#serving.keys()].some((key) => (Number(key.split('/')[1]) & 0xffff) === slot);
    if (correlation < 0x10000 || slot >= OURS.maxExchanges || inUse) throw new Fault(PROTOCOL, 'a slot out of range or in use');
    const cancel = new AbortController();
    this.#serving.set(name, cancel);
    const reply = (type, flags, payload) => {
      if (this.#over !== null) return;
      this.#serving.delete(name);
      if (type === Kind.RESPONSE) this.#message(flow, { type, correlation }, [], payload).catch(() => {});
      else this.#enqueue(flow, this.#frame(flow, type, flags, correlation, [], payload), { free: true });
    };
    const handler = this.#handlers.get(routeOf(extensions));
    if (handler === undefined) {
      reply(Kind.RESET, Flags.ACK, encodeFailure(NOT_FOUND, 'this page serves no such method'));
      return;
    }
    Promise.resolve()
      .then(() => handler(message, { signal: cancel.signal }))
      .then(
        (answer) => reply(Kind.RESPONSE, 0, bytesOf(answer ?? EMPTY)),
        (error) => {
          const code = error instanceof Failure ? error.code : HANDLER_PANICKED;
          reply(Kind.RESET, Flags.ACK, encodeFailure(code, String(error.text ?? error.message)));
        },
      );
  }

  /** Announces limits that have risen by half a window. */
  #grant(flow) {
    if (this.#over !== null) return;
    const entries = [];
    const limit = this.#received + OURS.windowConnection - this.#unread;
    if (limit - this.#announced >= OURS.windowConnection / 2) {
      this.#announced = limit;
      entries.push([0, limit]);
    }
    // After the peer's end nothing is granted: it could reach the next stream with this id.
    const mayGrant = flow !== null && flow.counted && this.#flows.get(flow.id) === flow;
    if (mayGrant && !this.#streams.get(flow.id)?.isPeerEnded) {
      const own = flow.received + flow.window - flow.unread;
      if (own - flow.announced >= flow.window / 2) {
        flow.announced = own;
        entries.push([flow.id, own]);
      }
    }
    if (entries.length > 0) this.#credit(entries);
  }

  #credit(entries) {
    const payload = new Uint8Array(12 * entries.length);
    const view = new DataView(payload.buffer);
    entries.forEach(([id, limit], index) => {
      view.setUint32(12 * index, id);
      view.setBigUint64(12 * index + 4, BigInt(limit));
    });
    this.#control(Kind.CREDIT, 0, payload);
  }

  #end(failure) {
    if (this.#over !== null) return;
    this.#over = { failure };
    const told = failure ?? new Failure(600, 'the connection is closed');
    for (const exchange of this.#exchanges.values()) if (!exchange.abandoned) exchange.reject(told);
    for (const flow of this.#flows.values()) for (const { done } of flow.queue.splice(0)) done?.reject(told);
    for (const stream of this.#streams.values()) stream.fail(told);
    for (const cancel of this.#serving.values()) cancel.abort(told);
    this.#opening.reject(told);
    this.resolveClosed(failure);
  }
}

/** Types with a meaning that a session of this kind does not have: auth, jobs and observation, topics, files. */
const KNOWN_ELSEWHERE = new Set([
  0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x35,
  0x36, 0x37, 0x3b, 0x3c, 0x3d, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45,
]);

/** A message has 16 MiB at most, and fragments below 1,024 bytes are few. */
const FRAGMENTS_MAX = OURS.maxMessage / 1024;

/** The peer asks on its own lanes and on stream 0, and nowhere else. */
function checkLane(id) {
  if (!LANES.includes(id) || (id !== 0 && isOurs(id))) throw new Fault(UNEXPECTED_FRAME, 'a request on a stream that is no lane of its own');
}

function frameErrorCode(error) {
  return { version: 101, length: FRAME_SIZE }[error.reason] ?? PROTOCOL;
}

function routeOf(extensions) {
  const found = extensions.find(({ name }) => name === 'route');
  return found === undefined ? '' : `${found.service}\0${found.method}`;
}

function bytesOf(payload) {
  if (typeof payload === 'string') return text.encode(payload);
  return payload instanceof Uint8Array ? payload : new Uint8Array(payload);
}

function concat(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
