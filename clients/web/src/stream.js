/** One stream of a session: its queue and credit, and what the application sees of it. Read {@link Stream} first. */

import { Kind } from './frame.js';
import { CANCELLED } from './settings.js';
import { classOf } from './classes.js';

/** Counts of one direction or both; the session moves them. */
export class Flow {
  constructor(id, ours, theirs) {
    const kind = classOf(id);
    this.id = id;
    this.counted = kind.counted;
    this.priority = kind.priority;
    /** Frames that wait for credit or the wire. */
    this.queue = [];
    this.sent = 0;
    this.limit = kind.counted ? theirs[kind.window] : Infinity;
    this.window = kind.counted ? ours[kind.window] : 0;
    this.received = 0;
    this.unread = 0;
    this.announced = this.window;
    /** Fragments of the message that arrives: `{key, extensions, parts, bytes, counted}`. */
    this.partial = null;
  }
}

/**
 * Messages both ways. `for await (const message of stream)` gives what the peer sends, until it ends its direction.
 */
export class Stream {
  #session;
  #messages = [];
  #waiting = [];
  #peerEnded = false;
  #ended = false;
  #failure = null;

  /** The session makes streams; see {@link Session#open}. */
  constructor(session, flow) {
    this.#session = session;
    this.flow = flow;
  }

  /** The number of the stream on the wire. */
  get id() {
    return this.flow.id;
  }

  /**
   * Sends a message. The promise is kept when the message has gone to the WebSocket; awaiting it is what keeps a fast
   * sender from filling memory.
   * @param {Uint8Array|string} message
   */
  send(message, { last = false } = {}) {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#ended) return Promise.reject(new Error('this side has ended the stream; nothing was sent'));
    this.#ended = last;
    return this.#session.sendMessage(this.flow, { type: Kind.DATA, last }, [], message);
  }

  /** Ends our direction. What the peer sends still arrives. */
  finish() {
    if (this.#ended || this.#failure !== null) return;
    this.#ended = true;
    this.#session.sendEnd(this.flow);
  }

  /** Ends both directions at once; what is under way is lost. */
  reset(code = CANCELLED, text = '') {
    if (this.#failure === null) this.#session.resetStream(this, code, text);
  }

  /** The next message, or null at the end. */
  async next() {
    const message = this.#messages.shift();
    if (message !== undefined) {
      this.#session.taken(this.flow, message.counted);
      return message.payload;
    }
    if (this.#failure !== null) throw this.#failure;
    if (this.#peerEnded) return null;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  async *[Symbol.asyncIterator]() {
    for (let message = await this.next(); message !== null; message = await this.next()) yield message;
  }

  /** For the session. */
  arrived(payload, counted) {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) {
      this.#messages.push({ payload, counted });
      return;
    }
    waiting.resolve(payload);
    this.#session.taken(this.flow, counted);
  }

  /** For the session. */
  peerEnd() {
    this.#peerEnded = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve(null);
  }

  /** For the session: nothing more goes either way. Gives back the bytes that nobody will read. */
  fail(failure) {
    this.#failure = failure;
    const unread = this.#messages.splice(0).reduce((sum, message) => sum + message.counted, 0);
    for (const { reject } of this.#waiting.splice(0)) reject(failure);
    return unread;
  }

  get isPeerEnded() {
    return this.#peerEnded;
  }

  get isEnded() {
    return this.#ended;
  }
}
