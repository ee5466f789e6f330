// The client in a real browser against a real server. `cargo xtask web` runs it:
//
//     node test/browser.mjs /path/to/valkyrie [/path/to/chromium]
//
// It starts `valkyrie serve --plain` on a WebSocket and, in front of it, a server of files that hands WebSockets through, as a
// proxy would: so page and WebSocket have one origin. The cases below run within the page.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { chromium } from 'playwright-core';

const [valkyrie, browserPath = '/usr/bin/chromium'] = process.argv.slice(2);
assert.ok(valkyrie, 'usage: node test/browser.mjs /path/to/valkyrie [/path/to/chromium]');

/** The cases. Each runs in the page, with the module and the server's address. */
const CASES = {
  'a call is answered': async ({ connect }, url) => {
    const connection = await connect(url, { plain: true });
    const answer = await connection.call('echo', 'echo', 'hello from a page');
    connection.close();
    return new TextDecoder().decode(answer) === 'hello from a page';
  },
  'messages of every size come back as they went, in fragments and past every window': async ({ connect }, url) => {
    const connection = await connect(url, { plain: true });
    for (const length of [0, 1, 16 * 1024, 16 * 1024 + 1, 300_000, 3_000_000]) {
      const message = Uint8Array.from({ length }, (_, index) => (index * 31) % 251);
      const answer = await connection.call('echo', 'echo', message);
      if (answer.length !== length || answer.some((byte, index) => byte !== message[index])) return `${length} bytes`;
    }
    connection.close();
    return true;
  },
  'hundreds of calls at once find their own answers': async ({ connect }, url) => {
    const connection = await connect(url, { plain: true });
    for (let round = 0; round < 10; round += 1) {
      const names = Array.from({ length: 100 }, (_, index) => `call ${round} ${index}`);
      const answers = await Promise.all(names.map((name) => connection.call('echo', 'echo', name)));
      const wrong = names.filter((name, index) => new TextDecoder().decode(answers[index]) !== name);
      if (wrong.length > 0) return wrong;
    }
    connection.close();
    return true;
  },
  'a stream carries messages both ways, in order, and both ends end it': async ({ connect }, url) => {
    const connection = await connect(url, { plain: true });
    for (let round = 0; round < 3; round += 1) {
      const stream = connection.open('echo', 'stream');
      const count = 2000;
      const sending = (async () => {
        for (let index = 0; index < count; index += 1) await stream.send(`message ${index}`);
        stream.finish();
      })();
      let next = 0;
      for await (const message of stream) {
        if (new TextDecoder().decode(message) !== `message ${next}`) return `at ${next}`;
        next += 1;
      }
      await sending;
      if (next !== count) return `${next} messages`;
    }
    connection.close();
    return true;
  },
  'a large upload and its summary': async ({ connect }, url) => {
    const connection = await connect(url, { plain: true });
    const stream = connection.open('echo', 'discard', '', { streamClass: 'data' });
    const block = new Uint8Array(100_000);
    for (let index = 0; index < 200; index += 1) await stream.send(block);
    stream.finish();
    const summary = JSON.parse(new TextDecoder().decode(await stream.next()));
    connection.close();
    return (summary.messages === 200 && summary.bytes === 20_000_000) || summary;
  },
  'failures have their codes': async ({ connect, Failure }, url) => {
    const connection = await connect(url, { plain: true });
    const failed = await connection.call('echo', 'fail', '404').catch((error) => error);
    const missing = await connection.call('no', 'such').catch((error) => error);
    const stream = connection.open('no', 'stream');
    const reset = await stream.next().catch((error) => error);
    const all = [failed, missing, reset];
    connection.close();
    return (all.every((each) => each instanceof Failure) && all.map(({ code }) => code).join() === '404,303,303') || String(all);
  },
  'a deadline and a signal end a call, and the connection goes on': async ({ connect }, url) => {
    const connection = await connect(url, { plain: true });
    const late = await connection.call('echo', 'delay', '60s', { deadlineMs: 50 }).catch(({ code }) => code);
    const giveUp = new AbortController();
    const call = connection.call('echo', 'delay', '60s', { signal: giveUp.signal }).catch(({ name }) => name);
    giveUp.abort();
    const aborted = await call;
    const answer = await connection.call('echo', 'echo', 'still here');
    connection.close();
    return (late === 301 && aborted === 'AbortError' && answer.length === 10) || [late, aborted];
  },
  'a stream is reset, and its number can be used again': async ({ connect }, url) => {
    const connection = await connect(url, { plain: true });
    for (let round = 0; round < 200; round += 1) {
      const stream = connection.open('echo', 'stream');
      await stream.send('x'.repeat(1000));
      stream.reset();
    }
    const answer = await connection.call('echo', 'echo', 'alive');
    connection.close();
    return answer.length === 5;
  },
  'without saying plain nothing is dialled': async ({ connect }, url) =>
    connect(url).then(
      () => 'was dialled',
      (error) => error instanceof TypeError,
    ),
  'a wrong path is refused': async ({ connect }, url) =>
    connect(`${url}elsewhere`, { plain: true }).then(
      () => 'was dialled',
      () => true,
    ),
};

const home = mkdtempSync(join(tmpdir(), 'valkyrie-web-'));
const server = spawn(valkyrie, ['serve', '--plain', '--listen', 'ws://127.0.0.1:0/', '--identity', join(home, 'keys')], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
let browser;
let front;
let failures = 0;
try {
  front = await frontOf(await listening(server));
  const origin = `http://127.0.0.1:${front.address().port}/`;
  const url = origin.replace('http:', 'ws:');
  browser = await chromium.launch({
    executablePath: browserPath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  const page = await browser.newPage();
  page.on('console', (message) => console.log(`page: ${message.text()}`));
  await page.goto(origin);
  for (const [name, run] of Object.entries(CASES)) {
    const outcome = await page.evaluate(
      async ({ source, url }) => {
        const module = await import('/src/index.js');
        const limit = new Promise((resolve) => setTimeout(() => resolve('it hangs'), 60_000));
        return Promise.race([(0, eval)(`(${source})`)(module, url), limit]);
      },
      { source: run.toString(), url },
    ).catch((error) => error.message);
    const passed = outcome === true;
    failures += passed ? 0 : 1;
    console.log(`${passed ? 'ok' : 'FAILED'} ${name}${passed ? '' : `: ${outcome}`}`);
  }
} finally {
  await browser?.close();
  front?.closeAllConnections();
  front?.close();
  server.kill('SIGTERM');
  rmSync(home, { recursive: true, force: true });
}
console.log(`${Object.keys(CASES).length - failures} of ${Object.keys(CASES).length} cases passed`);
process.exit(failures === 0 ? 0 : 1);

/** The address that the server prints once it listens. */
async function listening(server) {
  for await (const line of createInterface({ input: server.stdout })) {
    const found = line.match(/ws:\/\/\S+/);
    if (found) return found[0];
  }
  throw new Error('the server ended before it listened');
}

/** Serves the page and the modules, and hands WebSockets to the server at `url`. */
async function frontOf(url) {
  const { hostname, port } = new URL(url);
  const front = createServer((request, response) => {
    if (request.url === '/') {
      response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>Valkyrie</title>');
    } else if (/^\/src\/[a-z]+\.js$/.test(request.url)) {
      const module = readFileSync(new URL(`..${request.url}`, import.meta.url));
      response.setHeader('Content-Type', 'text/javascript').end(module);
    } else {
      response.writeHead(404).end();
    }
  });
  front.on('upgrade', (request, socket, head) => {
    const upstream = connectTcp(Number(port), hostname, () => {
      const fields = [];
      for (let at = 0; at < request.rawHeaders.length; at += 2) {
        fields.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}\r\n`);
      }
      upstream.write(`GET ${request.url} HTTP/1.1\r\n${fields.join('')}\r\n`);
      upstream.write(head);
      socket.pipe(upstream).pipe(socket);
    });
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  return front;
}
