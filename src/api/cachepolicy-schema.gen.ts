// Generated from crds/cachepolicies.yaml by generate.ts (make generate). Do not edit.

export const cachePolicySchema: unknown = {
  "type": "object",
  "description": "CachePolicy declares limits for cache directories on the nodes of a cluster. An agent on each selected node applies them: least recently used entries go first, an entry in use never goes. Whoever may create a CachePolicy may have files below the allowed roots of the nodes deleted.",
  "required": [
    "spec"
  ],
  "x-kubernetes-validations": [
    {
      "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 45",
      "message": "metadata.name must be a DNS label (lower-case letters, digits and '-') of at most 45 characters"
    },
    {
      "rule": "self.metadata.name != 'allowed-roots'",
      "message": "metadata.name may not be 'allowed-roots', because the operator's own ConfigMap is named after it"
    }
  ],
  "properties": {
    "apiVersion": {
      "type": "string",
      "description": "cache.a3s.dev/v1alpha1"
    },
    "kind": {
      "type": "string",
      "description": "CachePolicy"
    },
    "metadata": {
      "type": "object"
    },
    "spec": {
      "type": "object",
      "description": "What is wanted. Every limit is applied on each node by itself, to each cache by itself.",
      "required": [
        "caches"
      ],
      "properties": {
        "nodeSelector": {
          "type": "object",
          "description": "Labels a node must have for its caches to be governed, such as a3s-box.io/runtime set to \"true\". Default: every Linux node.",
          "maxProperties": 16,
          "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
          },
          "x-kubernetes-validations": [
            {
              "rule": "self.all(k, k.size() <= 317 && k.indexOf('/') <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
              "message": "every key of nodeSelector must be a label key, such as a3s-box.io/runtime"
            },
            {
              "rule": "!('kubernetes.io/os' in self) || self['kubernetes.io/os'] == 'linux'",
              "message": "nodeSelector may select no other kubernetes.io/os than linux, which is where agents run"
            }
          ]
        },
        "tolerations": {
          "type": "array",
          "description": "Taints the agents tolerate, added to those they always tolerate (not-ready, unreachable, and all kinds of pressure).",
          "maxItems": 16,
          "x-kubernetes-list-type": "atomic",
          "items": {
            "type": "object",
            "description": "One toleration, as in a Pod.",
            "x-kubernetes-validations": [
              {
                "rule": "!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
                "message": "value may not be set when operator is 'Exists'"
              },
              {
                "rule": "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
                "message": "operator must be 'Exists' when key is empty"
              },
              {
                "rule": "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "message": "tolerationSeconds may be set only when effect is 'NoExecute'"
              }
            ],
            "properties": {
              "key": {
                "type": "string",
                "description": "Taint key the toleration applies to. Empty matches every key; then operator must be Exists.",
                "maxLength": 317,
                "x-kubernetes-validations": [
                  {
                    "rule": "self == '' || (self.indexOf('/') <= 253 && self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
                    "message": "key must be a taint key, such as node.kubernetes.io/unreachable"
                  }
                ]
              },
              "operator": {
                "type": "string",
                "description": "How key and value are compared with the taint. Default Equal.",
                "enum": [
                  "Exists",
                  "Equal"
                ]
              },
              "value": {
                "type": "string",
                "description": "Taint value the toleration matches. Empty when operator is Exists.",
                "maxLength": 63,
                "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
              },
              "effect": {
                "type": "string",
                "description": "Taint effect to match. Empty matches every effect.",
                "enum": [
                  "NoSchedule",
                  "PreferNoSchedule",
                  "NoExecute"
                ]
              },
              "tolerationSeconds": {
                "type": "integer",
                "format": "int64",
                "description": "How long a NoExecute taint is tolerated. Default for ever.",
                "minimum": 0,
                "maximum": 31536000
              }
            }
          }
        },
        "mode": {
          "type": "string",
          "description": "Enforce evicts what is over a limit. DryRun evicts nothing and reports what would go. Suspended evicts nothing and reports the caches as they are.",
          "enum": [
            "Enforce",
            "DryRun",
            "Suspended"
          ],
          "default": "Enforce"
        },
        "schedule": {
          "type": "object",
          "description": "When limits are enforced. Without a schedule they are enforced continuously, within seconds of a change of a cache or of the policy.",
          "required": [
            "cron"
          ],
          "properties": {
            "cron": {
              "type": "string",
              "description": "Minute, hour, day of month, month and day of week, such as \"*/15 * * * *\" or \"30 2 * * 1-5\". A time of day that the clocks skip in spring is due an hour later; one that comes twice in autumn is due the first time only.",
              "minLength": 9,
              "maxLength": 100,
              "x-kubernetes-validations": [
                {
                  "rule": "self.matches('^[^ ]+( +[^ ]+){4}$')",
                  "message": "cron must have exactly five fields separated by spaces, such as '*/15 * * * *'"
                }
              ]
            },
            "timeZone": {
              "type": "string",
              "description": "IANA name of the zone the cron fields are read in, such as Europe/Berlin.",
              "minLength": 1,
              "maxLength": 64,
              "pattern": "^[A-Za-z0-9_+/-]+$",
              "default": "UTC",
              "x-kubernetes-validations": [
                {
                  "rule": "timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",
                  "message": "timeZone must be an IANA time zone name, such as Europe/Berlin"
                }
              ]
            },
            "jitter": {
              "type": "string",
              "description": "Spreads the nodes over this time after each due moment, so that they do not all start at once. At most the shortest time between two runs. Default 0s.",
              "maxLength": 40,
              "default": "0s",
              "x-kubernetes-validations": [
                {
                  "rule": "self.matches('^([0-9]{1,7}[dhms]){1,4}$')",
                  "message": "jitter must be a duration in d, h, m and s, such as 60s"
                }
              ]
            }
          }
        },
        "caches": {
          "type": "array",
          "description": "The caches to govern, each with limits of its own.",
          "minItems": 1,
          "maxItems": 16,
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": [
            "name"
          ],
          "x-kubernetes-validations": [
            {
              "rule": "self.all(a, self.all(b, a.name == b.name || !has(a.a3sBox) || !has(b.a3sBox) || a.a3sBox.store != b.a3sBox.store || a.a3sBox.home != b.a3sBox.home || (has(a.a3sBox.cacheDir) ? a.a3sBox.cacheDir : '') != (has(b.a3sBox.cacheDir) ? b.a3sBox.cacheDir : '')))",
              "message": "two caches may not name the same store of the same home"
            }
          ],
          "items": {
            "type": "object",
            "description": "One cache and its limits. Exactly one of a3sBox and directory says where it is.",
            "required": [
              "name",
              "limits"
            ],
            "x-kubernetes-validations": [
              {
                "rule": "has(self.a3sBox) != has(self.directory)",
                "message": "a cache must name exactly one of a3sBox and directory"
              }
            ],
            "properties": {
              "name": {
                "type": "string",
                "description": "What the cache is called in status, metrics and on the command line, such as rootfs.",
                "minLength": 1,
                "maxLength": 40,
                "x-kubernetes-validations": [
                  {
                    "rule": "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                    "message": "name must be lower-case letters, digits and '-', such as rootfs"
                  }
                ]
              },
              "a3sBox": {
                "type": "object",
                "description": "A store of the A3S Box MicroVM runtime, which goes on using it while it is governed.",
                "required": [
                  "home",
                  "store"
                ],
                "properties": {
                  "home": {
                    "type": "string",
                    "description": "Home directory of the runtime on the node, such as /var/lib/a3s-box/home. Strictly below one of the allowed roots that the operator was installed with.",
                    "minLength": 2,
                    "maxLength": 512,
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^(/[A-Za-z0-9_.@:+-]+)+$') && !self.matches('/[.][.]?(/|$)')",
                        "message": "home must be an absolute path of letters, digits and _ . @ : + - without '.', '..', '//' or a '/' at the end, such as /var/lib/a3s-box/home"
                      }
                    ]
                  },
                  "cacheDir": {
                    "type": "string",
                    "description": "Where the runtime keeps its cache when it was told to keep it apart from its home (its cache_dir). Strictly below one of the allowed roots. Default: the directory cache in the home.",
                    "minLength": 2,
                    "maxLength": 512,
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^(/[A-Za-z0-9_.@:+-]+)+$') && !self.matches('/[.][.]?(/|$)')",
                        "message": "cacheDir must be an absolute path of letters, digits and _ . @ : + - without '.', '..', '//' or a '/' at the end, such as /var/cache/a3s"
                      }
                    ]
                  },
                  "store": {
                    "type": "string",
                    "description": "Rootfs governs the built root file systems (cache/rootfs of the home, or rootfs of cacheDir), Layers the extracted OCI layers (layers).",
                    "enum": [
                      "Rootfs",
                      "Layers"
                    ]
                  }
                }
              },
              "directory": {
                "type": "object",
                "description": "A directory whose children are the entries: every folder and regular file whose name does not begin with a dot. The size of an entry is what it takes on the disk. It was last used when anything in it was last written, or when it was last seen open. While a process has a file of it open or mapped, it stays.",
                "required": [
                  "path"
                ],
                "properties": {
                  "path": {
                    "type": "string",
                    "description": "The directory on the node, such as /var/cache/models. Strictly below one of the allowed roots that the operator was installed with, on a filesystem of the node, and away from the home of an A3S Box runtime.",
                    "minLength": 2,
                    "maxLength": 512,
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^(/[A-Za-z0-9_.@:+-]+)+$') && !self.matches('/[.][.]?(/|$)')",
                        "message": "path must be an absolute path of letters, digits and _ . @ : + - without '.', '..', '//' or a '/' at the end, such as /var/cache/models"
                      }
                    ]
                  }
                }
              },
              "limits": {
                "type": "object",
                "description": "At least one limit. 0 is a limit of zero; a limit that is absent does not limit.",
                "x-kubernetes-validations": [
                  {
                    "rule": "has(self.maxEntries) || has(self.maxBytes) || has(self.maxIdle) || has(self.minFree) || has(self.minFreeInodes)",
                    "message": "limits must set at least one of maxEntries, maxBytes, maxIdle, minFree and minFreeInodes"
                  }
                ],
                "properties": {
                  "maxEntries": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Entries that may stay. The A3S Box runtime itself keeps at most 10 when it stores a new one; a number below 10 takes effect.",
                    "minimum": 0,
                    "maximum": 1000000000
                  },
                  "maxBytes": {
                    "x-kubernetes-int-or-string": true,
                    "description": "Sum of the entries' sizes that may stay, a quantity such as 8Gi. Nothing is evicted for it while what is in use or kept is larger by itself: no eviction could meet it.",
                    "maxLength": 24,
                    "pattern": "^[0-9]+([.][0-9]+)?([KMGTPE]i|[kMGTPE]|[eE][0-9]{1,2})?$",
                    "x-kubernetes-validations": [
                      {
                        "rule": "type(self) in [int] ? (self >= 0 && self <= 9007199254740991) : [quantity(self)].all(q, q.compareTo(quantity('0')) >= 0 && q.compareTo(quantity('9007199254740991')) <= 0)",
                        "message": "maxBytes must be a quantity from 0 to less than 8Pi, a number with Ki, Mi, Gi or Ti, such as 10Gi"
                      }
                    ]
                  },
                  "maxIdle": {
                    "type": "string",
                    "description": "Entries not used for longer than this go, such as 168h or 7d. Units d, h, m and s.",
                    "maxLength": 40,
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^([0-9]{1,7}[dhms]){1,4}$')",
                        "message": "maxIdle must be a duration in d, h, m and s, such as 168h"
                      }
                    ]
                  },
                  "minFree": {
                    "type": "string",
                    "description": "What the filesystem of the cache has to have left, a percentage of its size or a quantity, such as 20% or 50Gi. When it has less, least recently used entries go at once, also between scheduled runs, of whichever cache with this limit lies there. Where it could not have as much if it were empty, none goes for that. Kubelet evicts pods at 10% (15% on a filesystem of its own for images).",
                    "maxLength": 24,
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^[0-9]{1,2}%$') || (self.matches('^[0-9]+([.][0-9]+)?([KMGTPE]i|[kMGTPE])$') && quantity(self).compareTo(quantity('9007199254740991')) <= 0)",
                        "message": "minFree must be a percentage from 0% to 99% or a quantity with a unit, such as 20% or 50Gi"
                      }
                    ]
                  },
                  "minFreeInodes": {
                    "type": "string",
                    "description": "The same for inodes, a percentage or a number in quotes, such as 5% or \"100000\". Where the filesystem does not count its inodes (btrfs) this does not limit. How many inodes an entry has is not known beforehand: entries go in steps, until enough are free.",
                    "maxLength": 24,
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^([0-9]{1,2}%|[0-9]{1,15})$')",
                        "message": "minFreeInodes must be a percentage from 0% to 99% or a number in quotes, such as 5% or \"100000\""
                      }
                    ]
                  },
                  "headroom": {
                    "type": "string",
                    "description": "Once a limit is exceeded, go this far below it, so that the cache then rests until it has filled up again, such as 10%. Default 0%. It applies to every limit of the cache; what is within a limit is never evicted for its headroom.",
                    "maxLength": 8,
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^[0-9]{1,2}%$')",
                        "message": "headroom must be a percentage from 0% to 99%, such as 10%"
                      }
                    ]
                  }
                }
              },
              "protect": {
                "type": "object",
                "description": "What stays even when a limit is exceeded. An entry in use always stays.",
                "default": {},
                "properties": {
                  "minIdle": {
                    "type": "string",
                    "description": "Entries used within this time stay. Units d, h, m and s. Below 5s a use that just began may be missed.",
                    "maxLength": 40,
                    "default": "60s",
                    "x-kubernetes-validations": [
                      {
                        "rule": "self.matches('^([0-9]{1,7}[dhms]){1,4}$')",
                        "message": "minIdle must be a duration in d, h, m and s, such as 60s"
                      }
                    ]
                  },
                  "keep": {
                    "type": "array",
                    "description": "Pins: entries that stay whatever the limits say, maxIdle included, and count towards them all the same.",
                    "maxItems": 64,
                    "x-kubernetes-list-type": "atomic",
                    "items": {
                      "type": "object",
                      "description": "One pin, by key or by description.",
                      "x-kubernetes-validations": [
                        {
                          "rule": "has(self.key) != has(self.description)",
                          "message": "a pin must have either key or description, and not both"
                        }
                      ],
                      "properties": {
                        "key": {
                          "type": "string",
                          "description": "The whole key of an entry, such as the digest of a layer.",
                          "minLength": 1,
                          "maxLength": 512
                        },
                        "description": {
                          "type": "string",
                          "description": "Descriptions of entries, such as \"docker.io/library/nginx:*\"; * stands for any text, ? for any one character. The whole description has to match.",
                          "minLength": 1,
                          "maxLength": 512
                        },
                        "until": {
                          "type": "string",
                          "description": "When the pin stops holding, such as 2027-01-01T00:00:00Z. Without it the pin holds for good.",
                          "maxLength": 40,
                          "x-kubernetes-validations": [
                            {
                              "rule": "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$') && timestamp(self) > timestamp('1970-01-01T00:00:00Z')",
                              "message": "until must be a time with a zone, such as 2027-01-01T00:00:00Z"
                            }
                          ]
                        },
                        "reason": {
                          "type": "string",
                          "description": "Why, for whoever reads the policy or cachepolicy explain later.",
                          "maxLength": 256
                        }
                      }
                    }
                  }
                }
              }
            }
          }
        },
        "rollout": {
          "type": "object",
          "description": "How a change of the agents themselves reaches the nodes. Limits, mode, schedule and paths never restart an agent.",
          "default": {},
          "properties": {
            "maxUnavailable": {
              "x-kubernetes-int-or-string": true,
              "description": "Agents that may be down at once during an update, a number or a percentage of the nodes. The policy is also Ready while that many nodes do not report.",
              "maxLength": 4,
              "default": "10%",
              "x-kubernetes-validations": [
                {
                  "rule": "type(self) == int ? (self >= 1 && self <= 5000) : (type(self) == string && self.matches('^([1-9][0-9]?|100)%$'))",
                  "message": "maxUnavailable must be a number from 1 to 5000 or a percentage from 1% to 100%, such as 10%"
                }
              ]
            }
          }
        }
      }
    },
    "status": {
      "type": "object",
      "description": "What the controller knows from the nodes' reports (NodeCaches). Its size does not grow with the cluster.",
      "properties": {
        "observedGeneration": {
          "type": "integer",
          "format": "int64",
          "description": "The generation of spec that this status speaks of.",
          "minimum": 0
        },
        "stats": {
          "type": "object",
          "description": "Entries and bytes, summed over all nodes whose report is fresh. Absent while none is.",
          "properties": {
            "entryCount": {
              "type": "integer",
              "format": "int64",
              "description": "Number of entries.",
              "minimum": 0
            },
            "totalBytes": {
              "type": "integer",
              "format": "int64",
              "description": "Sum of the entries' sizes in bytes.",
              "minimum": 0
            }
          }
        },
        "entries": {
          "type": "string",
          "description": "The number of entries for people; - while it is unknown.",
          "maxLength": 24
        },
        "size": {
          "type": "string",
          "description": "The sum of the sizes for people, such as 92.3Gi; - while it is unknown.",
          "maxLength": 24
        },
        "usage": {
          "type": "string",
          "description": "The fullest cache on the fullest node against its tightest limit, such as 86%; - while it is unknown.",
          "maxLength": 24
        },
        "nodes": {
          "type": "object",
          "description": "Counts of nodes.",
          "properties": {
            "desired": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Nodes that run an agent of this policy or should."
            },
            "misscheduled": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Of those, nodes that run one although they no longer match nodeSelector and tolerations, such as after a taint."
            },
            "reporting": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Nodes whose report is fresh."
            },
            "stale": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Nodes whose agent is not ready or has not reported for 11 minutes."
            },
            "overLimit": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Nodes with a cache over one of its limits."
            },
            "failing": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Nodes with a cache that cannot be read or enforced."
            }
          }
        },
        "reporting": {
          "type": "string",
          "description": "Reporting nodes of the nodes desired, such as 12/12.",
          "maxLength": 24
        },
        "caches": {
          "type": "array",
          "description": "Each cache of spec, summed over all nodes whose report is fresh.",
          "maxItems": 16,
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": [
            "name"
          ],
          "items": {
            "type": "object",
            "description": "One cache.",
            "required": [
              "name"
            ],
            "properties": {
              "name": {
                "type": "string",
                "maxLength": 40,
                "description": "The cache's name in spec."
              },
              "stats": {
                "type": "object",
                "description": "Entries and bytes, summed over all nodes whose report is fresh. Absent while none is.",
                "properties": {
                  "entryCount": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Number of entries.",
                    "minimum": 0
                  },
                  "totalBytes": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Sum of the entries' sizes in bytes.",
                    "minimum": 0
                  }
                }
              },
              "size": {
                "type": "string",
                "maxLength": 24,
                "description": "The sum of the sizes for people; - while it is unknown."
              },
              "usage": {
                "type": "string",
                "maxLength": 24,
                "description": "The fullest node against the tightest limit; - while it is unknown."
              },
              "evictedEntries": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "Entries evicted on the nodes that report now, since their agents began to count."
              },
              "evictedBytes": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "Bytes of those entries."
              },
              "protectedBytes": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "Bytes of entries that may not go: in use, kept by a pin or used just now."
              },
              "wouldEvictEntries": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "Entries that are over a limit and may go; in DryRun this is what would be evicted."
              },
              "wouldEvictBytes": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "Bytes of those entries."
              }
            }
          }
        },
        "evictedEntries": {
          "type": "integer",
          "format": "int64",
          "description": "Entries evicted since the policy was created: the sum of the NodeCaches, and of those that the controller removed with their nodes. What a NodeCache says that somebody else deletes is lost from it.",
          "minimum": 0
        },
        "evictedBytes": {
          "type": "integer",
          "format": "int64",
          "description": "What the filesystems get back from those entries; a file with hard links elsewhere counts with its last link.",
          "minimum": 0
        },
        "departed": {
          "type": "object",
          "description": "The part of evictedEntries and evictedBytes that nodes evicted whose NodeCache the controller removed.",
          "properties": {
            "evictedEntries": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Entries."
            },
            "evictedBytes": {
              "type": "integer",
              "format": "int64",
              "minimum": 0,
              "description": "Bytes."
            },
            "leaving": {
              "type": "array",
              "description": "NodeCaches that the controller removes next; what each has evicted is added here once it is gone.",
              "maxItems": 50,
              "x-kubernetes-list-type": "atomic",
              "items": {
                "type": "object",
                "description": "One NodeCache.",
                "properties": {
                  "nodeName": {
                    "type": "string",
                    "maxLength": 253,
                    "description": "Name of the node."
                  },
                  "uid": {
                    "type": "string",
                    "maxLength": 64,
                    "description": "uid of the NodeCache."
                  },
                  "resourceVersion": {
                    "type": "string",
                    "maxLength": 64,
                    "description": "The version that is removed, and no other."
                  },
                  "evictedEntries": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "Entries."
                  },
                  "evictedBytes": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "Bytes."
                  }
                }
              }
            }
          }
        },
        "reclaimed": {
          "type": "string",
          "description": "Bytes of all evicted entries for people, such as 41.2Gi.",
          "maxLength": 24
        },
        "lastEvictionTime": {
          "type": "string",
          "format": "date-time",
          "description": "When an entry was last evicted on any node."
        },
        "fullestNodes": {
          "type": "array",
          "description": "The nodes nearest to or furthest over a limit, fullest first, at most 10.",
          "maxItems": 10,
          "x-kubernetes-list-type": "atomic",
          "items": {
            "type": "object",
            "description": "One cache on one node.",
            "properties": {
              "nodeName": {
                "type": "string",
                "maxLength": 253,
                "description": "Name of the node."
              },
              "cacheName": {
                "type": "string",
                "maxLength": 40,
                "description": "Name of the cache."
              },
              "usage": {
                "type": "string",
                "maxLength": 24,
                "description": "Usage against its tightest limit, such as 101%."
              }
            }
          }
        },
        "conditions": {
          "type": "array",
          "description": "Accepted, Programmed and Ready always stand; Degraded, LimitUnreachable and Stale only while they are True.",
          "maxItems": 8,
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": [
            "type"
          ],
          "items": {
            "type": "object",
            "description": "One aspect of the state.",
            "required": [
              "type",
              "status",
              "lastTransitionTime",
              "reason",
              "message"
            ],
            "properties": {
              "type": {
                "type": "string",
                "maxLength": 64,
                "pattern": "^[A-Z][A-Za-z]*$",
                "description": "Name of the condition, such as Ready."
              },
              "status": {
                "type": "string",
                "enum": [
                  "True",
                  "False",
                  "Unknown"
                ],
                "description": "True, False or Unknown."
              },
              "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "The generation of spec that the condition speaks of."
              },
              "lastTransitionTime": {
                "type": "string",
                "format": "date-time",
                "description": "When status last changed."
              },
              "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": 64,
                "pattern": "^[A-Z][A-Za-z]*$",
                "description": "One word for programs."
              },
              "message": {
                "type": "string",
                "maxLength": 1024,
                "description": "A sentence for people."
              }
            }
          }
        }
      }
    }
  }
};
