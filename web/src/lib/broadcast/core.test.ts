import { describe, expect, it } from 'vitest';

import {
  BroadcastCore,
  CONNECT_TIMEOUT_MS,
  INTERRUPTED_MS,
  STABLE_MS,
  TAKEN_PATIENCE_MS,
  type BroadcastEvent,
} from './core';
import type { FailureKind } from './whip';

/** A core with a clock; `random` is always one half. */
class Rig {
  readonly core = new BroadcastCore();
  now = 0;

  feed(event: BroadcastEvent): string[] {
    return this.core
      .handle(this.now, event, 0.5)
      .map((action) => `${action.type} ${String(action.id)}`);
  }

  fail(id: number, kind: FailureKind, retryAfter: number | null = null) {
    return this.feed({ type: 'failed', id, failure: { kind, detail: 'why', retryAfter } });
  }

  link(id: number, state: 'connected' | 'interrupted' | 'broken' | 'ended') {
    return this.feed({ type: 'link', id, state });
  }

  /** Lets time pass, tick by tick, until something is to be done. */
  pass(ms: number): string[] {
    for (const end = this.now + ms; this.now < end;) {
      this.now += 250;
      const actions = this.feed({ type: 'tick' });
      if (actions.length > 0) return actions;
    }
    return [];
  }

  get phase() {
    return this.core.view().phase;
  }

  onAir(): Rig {
    this.feed({ type: 'start' });
    this.link(1, 'connected');
    return this;
  }
}

describe('BroadcastCore', () => {
  it('goes on air and off again', () => {
    const rig = new Rig();
    expect(rig.phase).toBe('idle');
    expect(rig.feed({ type: 'start' })).toEqual(['open 1']);
    expect(rig.feed({ type: 'start' })).toEqual([]);
    expect(rig.phase).toBe('connecting');
    rig.now = 400;
    rig.link(1, 'connected');
    expect([rig.phase, rig.core.view().onAirSince]).toEqual(['on-air', 400]);
    expect(rig.pass(60_000)).toEqual([]);
    expect(rig.feed({ type: 'stop' })).toEqual(['close 1']);
    expect([rig.phase, rig.core.view().onAirSince]).toEqual(['idle', null]);
  });

  it('ends where trying again would be pointless, and says why', () => {
    for (const kind of ['token', 'unknown', 'refused', 'browser', 'taken'] as const) {
      const rig = new Rig();
      rig.feed({ type: 'start' });
      expect(rig.fail(1, kind)).toEqual(['close 1']);
      expect([rig.phase, rig.core.view().failure?.kind]).toEqual(['refused', kind]);
      expect(rig.pass(120_000)).toEqual([]);
      expect(rig.feed({ type: 'start' })).toEqual(['open 2']);
      expect(rig.core.view().failure).toBeNull();
    }
  });

  it('tries again what may pass, ever more seldom, and when the server says', () => {
    const rig = new Rig();
    rig.feed({ type: 'start' });
    const waits: number[] = [];
    for (let id = 1; id <= 6; id += 1) {
      expect(rig.fail(id, id % 2 ? 'network' : 'trouble')).toEqual([`close ${id}`]);
      const from = rig.now;
      expect(rig.pass(60_000)).toEqual([`open ${id + 1}`]);
      waits.push(rig.now - from);
    }
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
    expect(waits.at(-1)).toBeGreaterThan(5_000);
    rig.fail(7, 'busy', 20_000);
    expect(rig.pass(19_999)).toEqual([]);
    expect(rig.pass(10_000)).toEqual(['open 8']);
    expect(rig.phase).toBe('connecting');
  });

  it('comes back after a lost connection, and the time on air goes on', () => {
    for (const state of ['broken', 'ended'] as const) {
      const rig = new Rig().onAir();
      rig.now = 20_000;
      expect(rig.link(1, state)).toEqual(['close 1']);
      expect(rig.phase).toBe('reconnecting');
      expect(rig.pass(1_500)).toEqual(['open 2']);
      rig.link(2, 'connected');
      expect([rig.phase, rig.core.view().onAirSince]).toEqual(['on-air', 0]);
    }
  });

  it('waits for an interruption to pass, but not for long', () => {
    const rig = new Rig().onAir();
    rig.link(1, 'interrupted');
    expect(rig.pass(INTERRUPTED_MS - 500)).toEqual([]);
    expect(rig.phase).toBe('on-air');
    rig.link(1, 'connected');
    expect(rig.pass(60_000)).toEqual([]);
    rig.link(1, 'interrupted');
    expect(rig.pass(INTERRUPTED_MS)).toEqual(['close 1']);
    expect(rig.phase).toBe('reconnecting');
  });

  it('gives up an attempt that hangs', () => {
    const rig = new Rig();
    rig.feed({ type: 'start' });
    expect(rig.pass(CONNECT_TIMEOUT_MS - 250)).toEqual([]);
    expect(rig.pass(250)).toEqual(['close 1']);
  });

  it('waits for its own lost session to be let go, but pushes nobody off the air', () => {
    const rig = new Rig().onAir();
    rig.link(1, 'broken');
    rig.pass(2_000);
    const began = rig.now;
    let id = 2;
    rig.fail(id, 'taken');
    expect(rig.phase).toBe('reconnecting');
    while (rig.phase === 'reconnecting') {
      rig.pass(60_000);
      id += 1;
      rig.fail(id, 'taken');
    }
    expect(rig.phase).toBe('refused');
    expect(rig.core.view().failure?.kind).toBe('taken');
    expect(rig.now - began).toBeGreaterThanOrEqual(TAKEN_PATIENCE_MS);
  });

  it('hurries when somebody asks, and forgets its back-off when all is well', () => {
    const rig = new Rig();
    rig.feed({ type: 'start' });
    rig.fail(1, 'busy', 60_000);
    expect(rig.feed({ type: 'retry' })).toEqual(['open 2']);
    expect(rig.feed({ type: 'retry' })).toEqual([]);
    rig.link(2, 'connected');
    expect(rig.core.view().attempt).toBe(1);
    rig.pass(STABLE_MS + 500);
    expect(rig.core.view().attempt).toBe(0);
    rig.link(2, 'interrupted');
    expect(rig.feed({ type: 'retry' })).toEqual(['close 2']);
  });

  it('hears nothing from attempts that are over', () => {
    const rig = new Rig().onAir();
    rig.link(1, 'broken');
    rig.pass(2_000);
    expect(rig.fail(1, 'token')).toEqual([]);
    expect(rig.link(1, 'connected')).toEqual([]);
    expect(rig.phase).toBe('reconnecting');
  });
});
