// Generated from crds/cachepolicies.yaml by generate.ts (make generate). Do not edit.
// As the API server serves it: a field with a default is always there.

/**
 * CachePolicy declares limits for cache directories on the nodes of a cluster. An agent on each selected node applies them: least recently used entries go first, an entry in use never goes. Whoever may create a CachePolicy may have files below the allowed roots of the nodes deleted.
 */
export interface CachePolicy {
  /**
   * cache.a3s.dev/v1alpha1
   */
  apiVersion: string;
  /**
   * CachePolicy
   */
  kind: string;
  /**
   * Standard object metadata.
   */
  metadata: {name: string; uid?: string; generation?: number; creationTimestamp?: string};
  /**
   * What is wanted. Every limit is applied on each node by itself, to each cache by itself.
   */
  spec: {
    /**
     * Labels a node must have for its caches to be governed, such as a3s-box.io/runtime set to "true". Default: every Linux node.
     */
    nodeSelector?: {
      [k: string]: string;
    };
    /**
     * Taints the agents tolerate, added to those they always tolerate (not-ready, unreachable, and all kinds of pressure).
     *
     * @maxItems 16
     *
     * Items: One toleration, as in a Pod.
     */
    tolerations?: {
      /**
       * Taint key the toleration applies to. Empty matches every key; then operator must be Exists.
       */
      key?: string;
      /**
       * How key and value are compared with the taint. Default Equal.
       */
      operator?: 'Exists' | 'Equal';
      /**
       * Taint value the toleration matches. Empty when operator is Exists.
       */
      value?: string;
      /**
       * Taint effect to match. Empty matches every effect.
       */
      effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
      /**
       * How long a NoExecute taint is tolerated. Default for ever.
       */
      tolerationSeconds?: number;
    }[];
    /**
     * Enforce evicts what is over a limit. DryRun evicts nothing and reports what would go. Suspended evicts nothing and reports the caches as they are.
     */
    mode: 'Enforce' | 'DryRun' | 'Suspended';
    /**
     * When limits are enforced. Without a schedule they are enforced continuously, within seconds of a change of a cache or of the policy.
     */
    schedule?: {
      /**
       * Minute, hour, day of month, month and day of week, such as "* /15 * * * *" or "30 2 * * 1-5". A time of day that the clocks skip in spring is due an hour later; one that comes twice in autumn is due the first time only.
       */
      cron: string;
      /**
       * IANA name of the zone the cron fields are read in, such as Europe/Berlin.
       */
      timeZone: string;
      /**
       * Spreads the nodes over this time after each due moment, so that they do not all start at once. At most the shortest time between two runs. Default 0s.
       */
      jitter: string;
    };
    /**
     * The caches to govern, each with limits of its own.
     *
     * @minItems 1
     * @maxItems 16
     *
     * Items: One cache and its limits. Exactly one of a3sBox and directory says where it is.
     */
    caches: {
      /**
       * What the cache is called in status, metrics and on the command line, such as rootfs.
       */
      name: string;
      /**
       * A store of the A3S Box MicroVM runtime, which goes on using it while it is governed.
       */
      a3sBox?: {
        /**
         * Home directory of the runtime on the node, such as /var/lib/a3s-box/home. Strictly below one of the allowed roots that the operator was installed with.
         */
        home: string;
        /**
         * Where the runtime keeps its cache when it was told to keep it apart from its home (its cache_dir). Strictly below one of the allowed roots. Default: the directory cache in the home.
         */
        cacheDir?: string;
        /**
         * Rootfs governs the built root file systems (cache/rootfs of the home, or rootfs of cacheDir), Layers the extracted OCI layers (layers).
         */
        store: 'Rootfs' | 'Layers';
      };
      /**
       * A directory whose children are the entries: every folder and regular file whose name does not begin with a dot. The size of an entry is what it takes on the disk. It was last used when anything in it was last written, or when it was last seen open. While a process has a file of it open or mapped, it stays.
       */
      directory?: {
        /**
         * The directory on the node, such as /var/cache/models. Strictly below one of the allowed roots that the operator was installed with, on a filesystem of the node, and away from the home of an A3S Box runtime.
         */
        path: string;
      };
      /**
       * At least one limit. 0 is a limit of zero; a limit that is absent does not limit.
       */
      limits: {
        /**
         * Entries that may stay. The A3S Box runtime itself keeps at most 10 when it stores a new one; a number below 10 takes effect.
         */
        maxEntries?: number;
        /**
         * Sum of the entries' sizes that may stay, a quantity such as 8Gi. Nothing is evicted for it while what is in use or kept is larger by itself: no eviction could meet it.
         */
        maxBytes?: number | string;
        /**
         * Entries not used for longer than this go, such as 168h or 7d. Units d, h, m and s.
         */
        maxIdle?: string;
        /**
         * What the filesystem of the cache has to have left, a percentage of its size or a quantity, such as 20% or 50Gi. When it has less, least recently used entries go at once, also between scheduled runs, of whichever cache with this limit lies there. Where it could not have as much if it were empty, none goes for that. Kubelet evicts pods at 10% (15% on a filesystem of its own for images).
         */
        minFree?: string;
        /**
         * The same for inodes, a percentage or a number in quotes, such as 5% or "100000". Where the filesystem does not count its inodes (btrfs) this does not limit. How many inodes an entry has is not known beforehand: entries go in steps, until enough are free.
         */
        minFreeInodes?: string;
        /**
         * Once a limit is exceeded, go this far below it, so that the cache then rests until it has filled up again, such as 10%. Default 0%. It applies to every limit of the cache; what is within a limit is never evicted for its headroom.
         */
        headroom?: string;
      };
      /**
       * What stays even when a limit is exceeded. An entry in use always stays.
       */
      protect: {
        /**
         * Entries used within this time stay. Units d, h, m and s. Below 5s a use that just began may be missed.
         */
        minIdle: string;
        /**
         * Pins: entries that stay whatever the limits say, maxIdle included, and count towards them all the same.
         *
         * @maxItems 64
         *
         * Items: One pin, by key or by description.
         */
        keep?: {
          /**
           * The whole key of an entry, such as the digest of a layer.
           */
          key?: string;
          /**
           * Descriptions of entries, such as "docker.io/library/nginx:*"; * stands for any text, ? for any one character. The whole description has to match.
           */
          description?: string;
          /**
           * When the pin stops holding, such as 2027-01-01T00:00:00Z. Without it the pin holds for good.
           */
          until?: string;
          /**
           * Why, for whoever reads the policy or cachepolicy explain later.
           */
          reason?: string;
        }[];
      };
    }[];
    /**
     * How a change of the agents themselves reaches the nodes. Limits, mode, schedule and paths never restart an agent.
     */
    rollout: {
      /**
       * Agents that may be down at once during an update, a number or a percentage of the nodes. The policy is also Ready while that many nodes do not report.
       */
      maxUnavailable: number | string;
    };
  };
  /**
   * What the controller knows from the nodes' reports (NodeCaches). Its size does not grow with the cluster.
   */
  status?: {
    /**
     * The generation of spec that this status speaks of.
     */
    observedGeneration?: number;
    /**
     * Entries and bytes, summed over all nodes whose report is fresh. Absent while none is.
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
     * The fullest cache on the fullest node against its tightest limit, such as 86%; - while it is unknown.
     */
    usage?: string;
    /**
     * Counts of nodes.
     */
    nodes?: {
      /**
       * Nodes that run an agent of this policy or should.
       */
      desired?: number;
      /**
       * Of those, nodes that run one although they no longer match nodeSelector and tolerations, such as after a taint.
       */
      misscheduled?: number;
      /**
       * Nodes whose report is fresh.
       */
      reporting?: number;
      /**
       * Nodes whose agent is not ready or has not reported for 11 minutes.
       */
      stale?: number;
      /**
       * Nodes with a cache over one of its limits.
       */
      overLimit?: number;
      /**
       * Nodes with a cache that cannot be read or enforced.
       */
      failing?: number;
    };
    /**
     * Reporting nodes of the nodes desired, such as 12/12.
     */
    reporting?: string;
    /**
     * Each cache of spec, summed over all nodes whose report is fresh.
     *
     * @maxItems 16
     *
     * Items: One cache.
     */
    caches?: {
      /**
       * The cache's name in spec.
       */
      name: string;
      /**
       * Entries and bytes, summed over all nodes whose report is fresh. Absent while none is.
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
       * The fullest node against the tightest limit; - while it is unknown.
       */
      usage?: string;
      /**
       * Entries evicted on the nodes that report now, since their agents began to count.
       */
      evictedEntries?: number;
      /**
       * Bytes of those entries.
       */
      evictedBytes?: number;
      /**
       * Bytes of entries that may not go: in use, kept by a pin or used just now.
       */
      protectedBytes?: number;
      /**
       * Entries that are over a limit and may go; in DryRun this is what would be evicted.
       */
      wouldEvictEntries?: number;
      /**
       * Bytes of those entries.
       */
      wouldEvictBytes?: number;
    }[];
    /**
     * Entries evicted since the policy was created: the sum of the NodeCaches, and of those that the controller removed with their nodes. What a NodeCache says that somebody else deletes is lost from it.
     */
    evictedEntries?: number;
    /**
     * What the filesystems get back from those entries; a file with hard links elsewhere counts with its last link.
     */
    evictedBytes?: number;
    /**
     * The part of evictedEntries and evictedBytes that nodes evicted whose NodeCache the controller removed.
     */
    departed?: {
      /**
       * Entries.
       */
      evictedEntries?: number;
      /**
       * Bytes.
       */
      evictedBytes?: number;
      /**
       * NodeCaches that the controller removes next; what each has evicted is added here once it is gone.
       *
       * @maxItems 50
       *
       * Items: One NodeCache.
       */
      leaving?: {
        /**
         * Name of the node.
         */
        nodeName?: string;
        /**
         * uid of the NodeCache.
         */
        uid?: string;
        /**
         * The version that is removed, and no other.
         */
        resourceVersion?: string;
        /**
         * Entries.
         */
        evictedEntries?: number;
        /**
         * Bytes.
         */
        evictedBytes?: number;
      }[];
    };
    /**
     * Bytes of all evicted entries for people, such as 41.2Gi.
     */
    reclaimed?: string;
    /**
     * When an entry was last evicted on any node.
     */
    lastEvictionTime?: string;
    /**
     * The nodes nearest to or furthest over a limit, fullest first, at most 10.
     *
     * @maxItems 10
     *
     * Items: One cache on one node.
     */
    fullestNodes?: {
      /**
       * Name of the node.
       */
      nodeName?: string;
      /**
       * Name of the cache.
       */
      cacheName?: string;
      /**
       * Usage against its tightest limit, such as 101%.
       */
      usage?: string;
    }[];
    /**
     * Accepted, Programmed and Ready always stand; Degraded, LimitUnreachable and Stale only while they are True.
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
