import type { Reporter, TestCase } from 'vitest/node';

/** With RETRY=1 a test that fails gets a second try; one that needed it passes, and is named at the end: it has to be mended all the same. */
export default class FlakyReporter implements Reporter {
  readonly #flaky: string[] = [];

  onTestCaseResult(testCase: TestCase): void {
    if (testCase.diagnostic()?.flaky === true) this.#flaky.push(testCase.fullName);
  }

  onTestRunEnd(): void {
    for (const name of this.#flaky) console.log(`flaky, passed at the second try: ${name}`);
  }
}
