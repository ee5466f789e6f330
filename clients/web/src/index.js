/**
 * Valkyrie in a browser. `connect` dials; what it gives is a {@link Session} with its opening done.
 *
 *     const connection = await connect('ws://localhost:7001/', { plain: true });
 *     const answer = await connection.call('echo', 'echo', 'hello');
 *
 * There is no handshake of Valkyrie here yet: connections are plain, which the server has to permit by name
 * (`valkyrie serve --plain`), and `plain: true` says that the page knows. What protects them is TLS, with `wss`.
 */

import { Session } from './session.js';

export { Failure } from './settings.js';
export { Session } from './session.js';
export { Stream } from './stream.js';

export const SUBPROTOCOL = 'valkyrie.v2';

/** What may wait within the WebSocket, which cannot say when it is full. */
const BUFFERED_BYTES_MAX = 256 * 1024;

/** How often a full WebSocket is looked at; it has no event for having room. */
const ROOM_INTERVAL_MS = 4;

/** An opening takes no longer. */
const OPENING_MS_MAX = 10_000;

/**
 * Dials `ws://host:port/path` or `wss://host:port/path`.
 * @param {{plain: true, WebSocket?: typeof WebSocket}} options
 * @returns {Promise<Session>}
 */
export async function connect(url, { plain, WebSocket: Socket = globalThis.WebSocket } = {}) {
  if (plain !== true) throw new TypeError('this client has no handshake: say `plain: true`, here and at the server');
  const socket = new Socket(url, SUBPROTOCOL);
  socket.binaryType = 'arraybuffer';
  let waiting = false;
  const ready = () => {
    if (socket.bufferedAmount < BUFFERED_BYTES_MAX) return true;
    if (!waiting) {
      waiting = true;
      setTimeout(() => {
        waiting = false;
        session.pump();
      }, ROOM_INTERVAL_MS);
    }
    return false;
  };
  const session = new Session((bytes) => {
    if (socket.readyState === OPEN) socket.send(bytes);
  }, ready);
  const timer = setTimeout(() => session.lost('the opening took too long'), OPENING_MS_MAX);
  socket.addEventListener('open', () => session.begin());
  socket.addEventListener('message', ({ data }) => {
    if (!(data instanceof ArrayBuffer)) {
      session.lost('the server sent text');
    } else if (data.byteLength === 0) {
      // The empty message ends the peer's direction, transports.md#end-of-a-direction.
      session.lost('the server ended its direction');
    } else {
      session.input(new Uint8Array(data));
    }
  });
  socket.addEventListener('close', ({ code, reason }) => session.lost(`WebSocket code ${code} ${reason}`));
  session.closed.then(() => {
    clearTimeout(timer);
    if (socket.readyState === OPEN) socket.send(new Uint8Array(0));
    socket.close(1000);
  });
  await session.opened;
  clearTimeout(timer);
  return session;
}

/** WebSocket.OPEN, which an injected class need not name. */
const OPEN = 1;
