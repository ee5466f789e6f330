/** Classes of service: docs/protocol/streams.md#classes. */

export const CLASSES = Object.freeze({
  critical: { first: 0, last: 0, priority: 255, lane: 0, counted: false },
  system: { first: 1, last: 99, priority: 227, lane: 1, counted: true, window: 'windowSystem' },
  job: { first: 100, last: 999, priority: 149, lane: 101, counted: true, window: 'windowJob' },
  data: { first: 1000, last: 9999, priority: 74, lane: 1001, counted: true, window: 'windowData' },
  bulk: { first: 10000, last: 0xffffffff, priority: 25, lane: 10001, counted: false },
});

/** Most urgent first. */
export const ORDER = Object.freeze(Object.values(CLASSES));

/** The class of a stream, by its id. */
export function classOf(id) {
  return ORDER.find((each) => id <= each.last);
}

/** The lanes of both sides, which are open from the start. Ours are odd: this client dials. */
export const LANES = Object.freeze([0, 1, 2, 101, 100, 1001, 1000, 10001, 10000]);

/** Whether the side that dialled opens this id. */
export function isOurs(id) {
  return id % 2 === 1;
}
