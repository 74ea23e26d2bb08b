import { expect, test, vi } from 'vitest';
import { showMeasuring } from '../../src/cli/measuring.ts';
import { ProgressLine } from '../../src/cli/progress.ts';
import { Recorder } from './recorder.ts';

test('measuring is shown once it takes long, for each cache by itself', () => {
  const io = new Recorder();
  const progress = new ProgressLine(io);
  const [models, quick] = [showMeasuring(progress, 'models'), showMeasuring(progress, 'quick')];
  let nowMs = 0;
  using clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  for (let done = 0; done < 10; done += 1, nowMs += 500) models(done, 10);
  for (let done = 0; done < 3; done += 1, nowMs += 500) quick(done, 3);
  expect([clock.mock.calls.length > 0, io.stderr]).toEqual([true, 'models: measuring 10 entries\n']);
});
