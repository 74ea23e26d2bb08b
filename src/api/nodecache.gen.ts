// Generated from crds/nodecaches.yaml by generate.ts (make generate). Do not edit.
// As the API server serves it: a field with a default is always there.

/**
 * NodeCache is the report of one node for one CachePolicy, named <policy>.<node>. The agent on that node alone creates and writes it; editing it by hand changes nothing on the node. Keys and image names stay out of it; cachepolicy explain shows them on the node.
 */
export interface NodeCache {
  /**
   * cache.a3s.dev/v1alpha1
   */
  apiVersion: string;
  /**
   * NodeCache
   */
  kind: string;
  /**
   * Standard object metadata.
   */
  metadata: {name: string; uid?: string; generation?: number; creationTimestamp?: string};
  /**
   * Which policy and which node the report is of. Never changes.
   */
  spec: {
    /**
     * Name of the CachePolicy.
     */
    policyName: string;
    /**
     * Name of the node.
     */
    nodeName: string;
  };
  /**
   * What the agent found and did, as of reportTime.
   */
  status?: {
    /**
     * The generation of the policy that is in force on the node.
     */
    observedGeneration?: number;
    /**
     * uid of that policy; a report for an earlier policy of the same name does not count.
     */
    policyUID?: string;
    /**
     * uid of the node the agent runs on.
     */
    nodeUID?: string;
    /**
     * uid of the agent's pod.
     */
    podUID?: string;
    /**
     * Version of the agent.
     */
    agentVersion?: string;
    /**
     * When the report was written.
     */
    reportTime?: string;
    /**
     * Entries and bytes that can be served. Absent while unknown.
     */
    stats?: {
      /**
       * Number of entries.
       */
      entryCount?: number;
      /**
       * Sum of the entries' sizes in bytes.
       */
      totalBytes?: number;
    };
    /**
     * The number of entries for people; - while it is unknown.
     */
    entries?: string;
    /**
     * The sum of the sizes for people, such as 92.3Gi; - while it is unknown.
     */
    size?: string;
    /**
     * The fullest cache against its tightest limit, such as 86%; - while it is unknown.
     */
    usage?: string;
    /**
     * Entries evicted on nodes of this name for this policy since this object was made, over restarts of the agent. What an earlier object said that the controller removed with its node is in the CachePolicy.
     */
    evictedEntries?: number;
    /**
     * What the filesystems get back from those entries; a file with hard links elsewhere counts with its last link.
     */
    evictedBytes?: number;
    /**
     * When an entry was last evicted on this node.
     */
    lastEvictionTime?: string;
    /**
     * Each cache of the policy.
     *
     * @maxItems 16
     *
     * Items: One cache on this node.
     */
    caches?: {
      /**
       * The cache's name in the policy.
       */
      name: string;
      /**
       * Entries and bytes that can be served. Absent while unknown.
       */
      stats?: {
        /**
         * Number of entries.
         */
        entryCount?: number;
        /**
         * Sum of the entries' sizes in bytes.
         */
        totalBytes?: number;
      };
      /**
       * The sum of the sizes for people; - while it is unknown.
       */
      size?: string;
      /**
       * Usage against the tightest limit; - while it is unknown.
       */
      usage?: string;
      /**
       * Whether a limit is exceeded now.
       */
      overLimit?: boolean;
      /**
       * Entries that may not go, each counted once, by the first reason that holds it.
       */
      protected?: {
        /**
         * Entries and bytes.
         */
        inUse?: {
          /**
           * Number of entries.
           */
          entries?: number;
          /**
           * Sum of their sizes in bytes.
           */
          bytes?: number;
        };
        /**
         * Entries and bytes.
         */
        kept?: {
          /**
           * Number of entries.
           */
          entries?: number;
          /**
           * Sum of their sizes in bytes.
           */
          bytes?: number;
        };
        /**
         * Entries and bytes.
         */
        recent?: {
          /**
           * Number of entries.
           */
          entries?: number;
          /**
           * Sum of their sizes in bytes.
           */
          bytes?: number;
        };
      };
      /**
       * Pins of protect.keep whose time is over; they hold nothing any more.
       */
      expiredPins?: number;
      /**
       * Names that look like entries and are none, such as metadata or a folder that cannot be read. Never evicted.
       */
      damaged?: number;
      /**
       * What crashed writes left behind, and what of evicted entries could not be deleted yet.
       */
      leftovers?: number;
      /**
       * Names the format does not know. Never touched.
       */
      unrecognised?: number;
      /**
       * Since when the entries of a large directory were measured, a part of them at each look: figures may be as old as this. Absent where all of them were measured within a minute of the look.
       */
      measuredSince?: string;
      /**
       * Entries last used in the future by their metadata; treated as used now.
       */
      clockAhead?: number;
      /**
       * Where the knowledge of what is in use comes from: Box (markers of the runtime's boxes), Mount (mounts that the agent sees), Flock (locks on entries), Lease (open files of a directory cache).
       *
       * @maxItems 8
       */
      holdSources?: string[];
      /**
       * The filesystem the cache lies on.
       */
      filesystem?: {
        /**
         * Size in bytes.
         */
        capacityBytes?: number;
        /**
         * Bytes free for use.
         */
        availableBytes?: number;
        /**
         * Inodes there are; absent where the filesystem does not count them.
         */
        inodes?: number;
        /**
         * Inodes free for use; absent likewise.
         */
        inodesFree?: number;
      };
      /**
       * The last time that limits were applied.
       */
      lastRun?: {
        /**
         * When it ended.
         */
        time?: string;
        /**
         * Why it ran.
         */
        trigger?: 'Start' | 'Change' | 'Schedule' | 'FreeSpace';
        /**
         * Entries it evicted.
         */
        evictedEntries?: number;
        /**
         * Bytes of those entries.
         */
        evictedBytes?: number;
        /**
         * Things that failed while all else went on; the agent's log names them.
         */
        errors?: number;
      };
      /**
       * Counted since the cache's first run on this node, over restarts of the agent.
       */
      totals?: {
        /**
         * Entries evicted.
         */
        evictedEntries?: number;
        /**
         * Bytes of those entries.
         */
        evictedBytes?: number;
        /**
         * Entries taken out, found wanted by the runtime, and put back whole.
         */
        revived?: number;
        /**
         * Entries left alone because they were used between plan and eviction.
         */
        raced?: number;
      };
      /**
       * Entries and bytes.
       */
      wouldEvict?: {
        /**
         * Number of entries.
         */
        entries?: number;
        /**
         * Sum of their sizes in bytes.
         */
        bytes?: number;
      };
      /**
       * Why the cache cannot be read or enforced. Absent while it can.
       */
      problem?: {
        /**
         * One word for programs, such as RootMissing.
         */
        reason?: string;
        /**
         * A sentence for people.
         */
        message?: string;
      };
    }[];
    /**
     * Ready always stands; Degraded and LimitUnreachable only while they are True.
     *
     * @maxItems 8
     *
     * Items: One aspect of the state.
     */
    conditions?: {
      /**
       * Name of the condition, such as Ready.
       */
      type: string;
      /**
       * True, False or Unknown.
       */
      status: 'True' | 'False' | 'Unknown';
      /**
       * The generation of spec that the condition speaks of.
       */
      observedGeneration?: number;
      /**
       * When status last changed.
       */
      lastTransitionTime: string;
      /**
       * One word for programs.
       */
      reason: string;
      /**
       * A sentence for people.
       */
      message: string;
    }[];
  };
}
