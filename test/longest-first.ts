import { basename } from 'node:path';
import type { TestSpecification } from 'vitest/node';
import { BaseSequencer } from 'vitest/node';

/** These wait for clusters of their own and for the clocks of Kubernetes; one of them begun last would run alone at the end. */
const longest = ['operator', 'outage', 'removal', 'controller-faults', 'upgrade', 'leaders', 'scale', 'readme'].map((name) => `${name}.test.ts`);

/** The order in which files are started, where several run at a time. */
export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ project, moduleId }: TestSpecification) => (project.name === 'integration' ? longest.indexOf(basename(moduleId)) : -1);
    const rank = (file: TestSpecification) => (place(file) === -1 ? longest.length : place(file));
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other));
  }
}
