import { describe, expect, it } from 'vitest';
import { ProgressLine } from '../../src/cli/progress.ts';
import { Recorder } from './recorder.ts';

describe('progress', () => {
  it('is one line on a terminal, drawn over and removed at the end', () => {
    const io = new Recorder({ terminal: true });
    {
      using progress = new ProgressLine(io);
      progress.show('rootfs: purging', 0.5);
    }
    expect(io.stderr).toBe('\r\x1b[K██████████           50%  rootfs: purging\r\x1b[K');
  });

  it('is not drawn more often than anyone can see', () => {
    const io = new Recorder({ terminal: true });
    using progress = new ProgressLine(io);
    for (let i = 0; i <= 1000; i += 1) progress.show('purging', i / 1000);
    expect(io.stderr.split('\r').length).toBeLessThan(20);
  });

  it('is a line for each step where nobody watches, and no control characters', () => {
    const io = new Recorder();
    {
      using progress = new ProgressLine(io);
      for (const ratio of [0.1, 0.2, 0.9]) progress.show('purging', ratio);
      progress.show('settling');
    }
    expect(io.stderr).toBe('purging\nsettling\n');
  });
});
