import { describe, expect, it } from 'vitest';

import {
  CONNECT_TIMEOUT_MS,
  INTERRUPTED_MS,
  PlayerCore,
  STABLE_MS,
  STALL_MS,
  type LinkState,
  type PlayerAction,
  type PlayerEvent,
} from './core';
import type { Failure, FailureKind } from './whep';

/** Drives a core on virtual time, ticking every 250 ms as the player does. */
class Bench {
  readonly core = new PlayerCore();
  readonly done: string[] = [];
  now = 0;
  count = 0;

  constructor(readonly random = 1) {}

  send(event: PlayerEvent): this {
    this.#note(this.core.handle(this.now, event, this.random));
    return this;
  }

  /** Lets time pass; media arrives on the links in `playing`. */
  run(ms: number, ...playing: number[]): this {
    for (const end = this.now + ms; this.now < end;) {
      this.now += 250;
      this.count += 7;
      for (const id of playing) this.send({ type: 'progress', id, count: this.count });
      this.send({ type: 'tick' });
    }
    return this;
  }

  link(id: number, state: LinkState): this {
    return this.send({ type: 'link', id, state });
  }

  fail(id: number, kind: FailureKind, retryAfter: number | null = null): this {
    const failure: Failure = { kind, detail: '', retryAfter };
    return this.send({ type: 'failed', id, failure });
  }

  /** What was asked for since the last call, for example `open 1`. */
  take(): string[] {
    return this.done.splice(0);
  }

  get phase() {
    return this.core.view().phase;
  }

  #note(actions: PlayerAction[]): void {
    for (const action of actions) this.done.push(`${action.type} ${action.id}`);
  }
}

const playing = (random?: number) => {
  const bench = new Bench(random).send({ type: 'start' }).link(1, 'connected').run(1_000, 1);
  expect(bench.take()).toEqual(['open 1', 'show 1']);
  expect(bench.phase).toBe('playing');
  return bench;
};

describe('starting', () => {
  it('connects, shows, plays, and then asks for nothing', () => {
    const bench = new Bench().send({ type: 'start' });
    expect(bench.phase).toBe('connecting');
    bench.link(1, 'connected').run(500);
    expect(bench.phase).toBe('connecting');
    bench.run(60_000, 1);
    expect(bench.phase).toBe('playing');
    expect(bench.take()).toEqual(['open 1', 'show 1']);
  });

  it('takes a second start for nothing', () => {
    const bench = new Bench().send({ type: 'start' }).send({ type: 'start' });
    expect(bench.take()).toEqual(['open 1', 'show 1']);
  });

  it('gives up an attempt that does not connect', () => {
    const bench = new Bench().send({ type: 'start' }).run(CONNECT_TIMEOUT_MS);
    expect(bench.take()).toEqual(['open 1', 'show 1', 'close 1']);
    expect(bench.phase).toBe('reconnecting');
    bench.run(1_000);
    expect(bench.take()).toEqual(['open 2', 'show 2']);
  });
});

describe('refusals', () => {
  it('waits for a stream that is not on air, as long as the server says', () => {
    const bench = new Bench(0).send({ type: 'start' }).fail(1, 'off-air', 5_000);
    expect(bench.take()).toEqual(['open 1', 'show 1', 'close 1']);
    expect(bench.phase).toBe('waiting');
    bench.run(4_750);
    expect(bench.take()).toEqual([]);
    bench.run(250);
    expect(bench.take()).toEqual(['open 2', 'show 2']);
    expect(bench.phase).toBe('waiting');
    bench.link(2, 'connected').run(250, 2);
    expect(bench.phase).toBe('playing');
    expect(bench.core.view().failure).toBeNull();
  });

  it('spreads the wait that the server named', () => {
    const bench = new Bench(1).send({ type: 'start' }).fail(1, 'busy', 4_000);
    expect(bench.phase).toBe('busy');
    expect(bench.core.view().retryAt).toBe(5_000);
  });

  it('asks seldom for a stream that is unknown', () => {
    const bench = new Bench(1).send({ type: 'start' }).fail(1, 'unknown');
    expect(bench.phase).toBe('unknown');
    expect(bench.core.view().retryAt).toBe(10_000);
  });

  it('does not repeat what would be refused again, unless a person asks', () => {
    const bench = new Bench().send({ type: 'start' }).fail(1, 'incompatible').run(600_000);
    expect(bench.take()).toEqual(['open 1', 'show 1', 'close 1']);
    expect(bench.phase).toBe('refused');
    bench.send({ type: 'retry' });
    expect(bench.take()).toEqual(['open 2', 'show 2']);
  });

  it('backs off while the network fails, and starts anew after playing for a while', () => {
    const bench = new Bench(1).send({ type: 'start' });
    const waits = [];
    for (let id = 1; id <= 5; id += 1) {
      bench.fail(id, 'network');
      const retryAt = bench.core.view().retryAt ?? 0;
      waits.push(retryAt - bench.now);
      bench.run(retryAt - bench.now);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 15_000]);
    bench.link(6, 'connected').run(STABLE_MS - 500, 6);
    expect(bench.core.view().attempt).toBe(5);
    bench.run(1_000, 6);
    expect(bench.core.view().attempt).toBe(0);
  });
});

describe('losing the picture', () => {
  it('keeps a stalled picture until the next one is there', () => {
    const bench = playing();
    bench.run(STALL_MS - 250);
    expect(bench.phase).toBe('playing');
    bench.run(1_250);
    expect(bench.phase).toBe('reconnecting');
    expect(bench.take()).toEqual(['open 2']);
    bench.link(2, 'connected').run(250, 2);
    expect(bench.take()).toEqual(['show 2', 'close 1']);
    expect(bench.phase).toBe('playing');
  });

  it('drops the attempt when the old picture moves again', () => {
    const bench = playing().run(STALL_MS + 1_000);
    expect(bench.take()).toEqual(['open 2']);
    bench.run(250, 1);
    expect(bench.take()).toEqual(['close 2']);
    expect(bench.phase).toBe('playing');
    bench.run(30_000, 1);
    expect(bench.take()).toEqual([]);
  });

  it('keeps the link of a source that went off air, and resumes on it', () => {
    const bench = playing().run(STALL_MS + 1_000);
    bench.fail(2, 'off-air', 2_000);
    expect(bench.phase).toBe('waiting');
    expect(bench.take()).toEqual(['open 2', 'close 2']);
    bench.run(2_500);
    expect(bench.take()).toEqual(['open 3']);
    bench.fail(3, 'off-air', 2_000).run(250, 1);
    expect(bench.take()).toEqual(['close 3']);
    expect(bench.phase).toBe('playing');
  });

  it('reconnects at once when the link breaks', () => {
    const bench = playing(0).link(1, 'broken');
    expect(bench.phase).toBe('reconnecting');
    bench.run(250);
    expect(bench.take()).toEqual(['open 2']);
    bench.run(250, 1); // a late count of the dead link changes nothing
    expect(bench.phase).toBe('reconnecting');
  });

  it('follows a goodbye within 300 ms, and keeps the old picture until then', () => {
    for (const random of [0, 0.999]) {
      const bench = playing(random).link(1, 'ended');
      expect(bench.phase).toBe('reconnecting');
      const wait = (bench.core.view().retryAt ?? Infinity) - bench.now;
      expect(wait).toBeGreaterThan(0);
      expect(wait).toBeLessThanOrEqual(300);
      bench.run(500);
      expect(bench.take()).toEqual(['open 2']);
      bench.link(2, 'connected').run(250, 2);
      expect(bench.take()).toEqual(['show 2', 'close 1']);
      expect(bench.phase).toBe('playing');
    }
    expect(playing(0).link(1, 'ended').core.view().retryAt).not.toBe(
      playing(0.5).link(1, 'ended').core.view().retryAt,
    );
  });

  it('waits longer when goodbyes follow each other', () => {
    const bench = new Bench(1).send({ type: 'start' });
    const waits = [];
    for (let id = 1; id <= 5; id += 1) {
      bench.link(id, 'connected').link(id, 'ended');
      const retryAt = bench.core.view().retryAt ?? 0;
      waits.push(retryAt - bench.now);
      bench.now = retryAt;
      bench.send({ type: 'tick' });
    }
    expect(waits).toEqual([300, 1_200, 4_800, 15_000, 15_000]);
  });

  it('a goodbye while the stream is off air changes nothing that is said or planned', () => {
    const bench = playing().run(STALL_MS + 1_000);
    bench.fail(2, 'off-air', 2_000);
    const before = bench.core.view();
    bench.link(1, 'ended').link(1, 'broken');
    expect(bench.core.view()).toEqual(before);
    bench.take();
    bench.run(2_500);
    expect(bench.take()).toEqual(['open 3']);
    bench.run(250, 1); // the old link is no more
    expect(bench.phase).toBe('waiting');
    bench.link(3, 'connected').run(250, 3);
    expect(bench.take()).toEqual(['show 3', 'close 1']);
  });

  it('a goodbye after a stall leaves the attempt that is under way alone', () => {
    const bench = playing()
      .run(STALL_MS + 1_000)
      .link(1, 'ended');
    expect(bench.take()).toEqual(['open 2']);
    bench.link(2, 'connected').run(250, 2);
    expect(bench.take()).toEqual(['show 2', 'close 1']);
  });

  it('bears a short interruption, and one during which media still arrives', () => {
    const bench = playing()
      .link(1, 'interrupted')
      .run(INTERRUPTED_MS - 250);
    bench.link(1, 'connected').run(250, 1);
    expect(bench.phase).toBe('playing');
    bench.link(1, 'interrupted').run(20_000, 1);
    expect(bench.take()).toEqual([]);
    bench.run(INTERRUPTED_MS);
    expect(bench.phase).toBe('reconnecting');
  });

  it('goes on trying when the next attempt connects but stays dark', () => {
    const bench = playing()
      .run(STALL_MS + 1_000)
      .link(2, 'connected')
      .run(STALL_MS + 250);
    expect(bench.take()).toEqual(['open 2', 'close 2']);
    bench.run(2_000);
    expect(bench.take()).toEqual(['open 3']);
  });

  it('takes a count that fell for a new start, not for progress', () => {
    const bench = playing();
    bench.send({ type: 'progress', id: 1, count: 1 }).run(STALL_MS);
    expect(bench.phase).toBe('reconnecting');
  });
});

describe('people and networks', () => {
  it('a returning network replaces what hangs, but not a fresh attempt', () => {
    const bench = playing().link(1, 'interrupted').send({ type: 'retry' });
    expect(bench.take()).toEqual(['open 2']);
    bench.run(500).send({ type: 'retry' });
    expect(bench.take()).toEqual([]);
    bench.run(500).send({ type: 'retry' });
    expect(bench.take()).toEqual(['close 2', 'open 3']);
  });

  it('retry changes nothing while it plays', () => {
    expect(playing().send({ type: 'retry' }).take()).toEqual([]);
  });

  it('stop closes everything and nothing wakes it but start', () => {
    const bench = playing().run(STALL_MS + 1_000);
    bench.take();
    bench.send({ type: 'stop' });
    expect(bench.take()).toEqual(['close 2', 'close 1']);
    expect(bench.phase).toBe('stopped');
    bench.fail(2, 'network').link(1, 'broken').send({ type: 'retry' }).run(60_000);
    expect(bench.take()).toEqual([]);
    bench.send({ type: 'start' });
    expect(bench.take()).toEqual(['open 3', 'show 3']);
    expect(bench.phase).toBe('connecting');
    expect(bench.core.view().everPlayed).toBe(true);
  });
});

describe('under random events', () => {
  it('never has more than two links, and closes all of them in the end', () => {
    let seed = 42;
    const random = () => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return seed / 2 ** 32;
    };
    const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T;
    const kinds = [
      'unknown',
      'off-air',
      'busy',
      'forbidden',
      'incompatible',
      'trouble',
      'network',
    ] as const;
    for (let round = 0; round < 300; round += 1) {
      const core = new PlayerCore();
      const open = new Set<number>();
      let shown: number | null = null;
      let opened = 0;
      let now = 0;
      const step = (event: PlayerEvent) => {
        for (const { type, id } of core.handle(now, event, random())) {
          if (type === 'open') {
            open.add(id);
            opened = id;
          }
          if (type === 'close') expect(open.delete(id)).toBe(true);
          if (type === 'show') {
            expect(open.has(id)).toBe(true);
            shown = id;
          }
        }
        expect(open.size).toBeLessThanOrEqual(2);
        if (core.view().phase === 'playing') expect(open.has(shown ?? -1)).toBe(true);
      };
      for (let i = 0; i < 120; i += 1) {
        now += random() * 1_500;
        const id = opened - Math.floor(random() * 2);
        step(
          pick<PlayerEvent>([
            { type: 'start' },
            { type: 'tick' },
            { type: 'tick' },
            { type: 'retry' },
            { type: 'failed', id, failure: { kind: pick(kinds), detail: '', retryAfter: null } },
            {
              type: 'link',
              id,
              state: pick(['connected', 'interrupted', 'broken', 'ended'] as const),
            },
            { type: 'progress', id, count: i },
            { type: 'progress', id, count: i },
            ...(random() < 0.1 ? [{ type: 'stop' } as const] : []),
          ]),
        );
      }
      step({ type: 'stop' });
      expect(open.size).toBe(0);
    }
  });
});
