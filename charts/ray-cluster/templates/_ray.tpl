{{/*
Ray itself: its version, the flags of `ray start`, and its environment. What differs between Ray's versions belongs here and
nowhere else.

  include "ray-cluster.ray.version" $                                            2.60.0, or empty when nothing tells
  include "ray-cluster.ray.versionOf" $image                                     what an image's own values tell
  include "ray-cluster.ray.has" (dict "ctx" $ "feature" "labelList")              true, or empty, see below
  include "ray-cluster.ray.args" $node                                           list of `ray start` arguments
  include "ray-cluster.ray.env" $node                                            list of environment variables
  include "ray-cluster.ray.managedFlags" $ | fromYaml                            flags that users may not set, see below
  include "ray-cluster.ray.managedEnv" $ | fromYaml                              the same for the environment
  include "ray-cluster.ray.gpus" $values                                         GPUs as a number
  include "ray-cluster.ray.serveIsLocal" $                                       true, or empty
  include "ray-cluster.ray.health" (merge (dict "probe" "livenessProbe") $node)  path and port of the health endpoint

  $node := dict "ctx" $ "component" "head" "values" .Values.head
  $node := dict "ctx" $ "component" "worker" "group" $name "values" $group

Kubernetes starts `ray start --block` itself, without a shell: so it is process 1 and receives SIGTERM (files/ray.py says why that
takes a few lines of Python). $(NAME) in an argument is expanded by Kubernetes.
*/}}

{{/* The oldest supported Ray, which the scenarios run as well as the newest. */}}
{{- define "ray-cluster.ray.minimumVersion" -}}
2.40.0
{{- end -}}

{{/* The first Ray with each feature that the oldest lacks. */}}
{{- define "ray-cluster.ray.features" -}}
agentHealth: 2.53.0
agentToken: 2.54.0
labelList: 2.45.0
redisUsername: 2.41.0
rocksdb: 2.57.0
spillingDirectory: 2.45.0
token: 2.52.0
{{- end -}}

{{/* Whether this Ray has a feature. An unknown one has all, since _validate.tpl refuses it anyway. */}}
{{- define "ray-cluster.ray.has" -}}
{{- $since := get (include "ray-cluster.ray.features" . | fromYaml) .feature -}}
{{- if semverCompare (printf ">=%s" $since) (default $since (include "ray-cluster.ray.version" .ctx)) -}}
true
{{- end -}}
{{- end -}}

{{/*
The version in the image: rayVersion, or the tag if it looks like one (2.60.0, 2.60.0-py312), or appVersion if the default
image is used. A digest and a tag of one's own tell nothing: then this is empty, and _validate.tpl asks for rayVersion.
*/}}
{{- define "ray-cluster.ray.version" -}}
{{- if .Values.rayVersion -}}
{{- .Values.rayVersion -}}
{{- else if .Values.image.tag -}}
{{- include "ray-cluster.ray.versionOf" .Values.image -}}
{{- else if not .Values.image.digest -}}
{{- .Chart.AppVersion -}}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.ray.versionOf" -}}
{{- regexFind `^(\d{1,9}\.){2}\d{1,9}(-|$)` (default "" .tag) | trimSuffix "-" -}}
{{- end -}}

{{/*
The flags of `ray start` as a map, before the user's rayStartParams. An empty value is a flag without one.

Every port is fixed, because Ray picks random ones for most of them, which no network policy can name. Workers get the
head's ports too: Ray checks all ports of a node against each other, those that only a head opens included.
*/}}
{{- define "ray-cluster.ray.flags" -}}
block: ""
{{/* Ray finds its own address by resolving the head's name. A worker that is faster than the head's DNS record would take
     127.0.0.1 for its address, and join as a node that nobody can reach. */ -}}
node-ip-address: $(POD_IP)
node-name: $(POD_NAME)
num-gpus: {{ include "ray-cluster.ray.gpus" .values | quote }}
num-cpus: {{ eq (toString .values.numCpus) "auto" | ternary "$(CPU_REQUEST)" (toString .values.numCpus) | quote }}
memory: {{ include "ray-cluster.taskMemoryBytes" .values | quote }}
object-store-memory: {{ include "ray-cluster.objectStoreBytes" .values | quote }}
{{- with .ctx.Values.ports }}
dashboard-agent-grpc-port: {{ .dashboardAgentGrpc | quote }}
dashboard-agent-listen-port: {{ .dashboardAgentListen | quote }}
dashboard-port: {{ .dashboard | quote }}
max-worker-port: {{ .workerMax | quote }}
metrics-export-port: {{ .metrics | quote }}
min-worker-port: {{ .workerMin | quote }}
node-manager-port: {{ .nodeManager | quote }}
object-manager-port: {{ .objectManager | quote }}
ray-client-server-port: {{ .client | quote }}
runtime-env-agent-port: {{ .runtimeEnvAgent | quote }}
{{- end }}
{{- if .values.objectSpilling.enabled }}
object-spilling-directory: {{ include "ray-cluster.ray.spillingDirectory" . }}
{{- else if .ctx.Values.head.objectSpilling.enabled }}
# A worker that names no directory takes the head's, where it has no volume, and does not start.
object-spilling-directory: /tmp/ray/object-spilling
{{- end }}
{{- with .values.rayLabels }}
{{- if include "ray-cluster.ray.has" (dict "ctx" $.ctx "feature" "labelList") }}
{{- $labels := list }}
{{- range $key, $value := . }}
{{- $labels = append $labels (printf "%s=%s" $key $value) }}
{{- end }}
labels: {{ join "," $labels | quote }}
{{- else }}
labels: {{ toRawJson . | squote }}
{{- end }}
{{- end }}
{{- with .values.rayResources }}
resources: {{ toRawJson . | squote }}
{{- end }}
{{- if eq .component "head" }}
head: ""
port: {{ .ctx.Values.ports.gcs | quote }}
# Not only this pod's own address: kubectl port-forward arrives on localhost.
dashboard-host: 0.0.0.0
{{- if eq .ctx.Values.gcsFaultTolerance.mode "redis" }}
{{- with .ctx.Values.gcsFaultTolerance.redis.username }}
redis-username: {{ . | quote }}
{{- end }}
{{/* `ray start` takes the password from this flag only and reads no environment variable for it. The pod spec holds just the
     reference. Inside the head's container Ray hands the password on in the arguments of its own processes (gcs_server,
     raylet), so it is visible to whatever runs there, jobs included, and no setting of the chart could change that. */ -}}
{{- if include "ray-cluster.redisSecretName" .ctx }}
redis-password: $(RAY_REDIS_PASSWORD)
{{- end }}
{{- end }}
{{- else }}
address: {{ printf "%s:%v" (include "ray-cluster.addressOf" (dict "ctx" .ctx "name" (include "ray-cluster.gcsName" .ctx))) .ctx.Values.ports.gcs }}
{{- end }}
{{- end -}}

{{/* The arguments of `ray`: start and the flags, the user's included, in alphabetical order. */}}
{{- define "ray-cluster.ray.args" -}}
{{- range $flag, $value := mergeOverwrite (include "ray-cluster.ray.flags" . | fromYaml) (default dict .values.rayStartParams) }}
- {{ eq $value "" | ternary (printf "--%s" $flag) (printf "--%s=%s" $flag $value) | quote }}
{{- end }}
{{- end -}}

{{/*
Flags that rayStartParams may not set, each with the value to use instead; NODE stands for `head` or `workerGroups.<name>`.
An empty text: there is nothing to choose.
*/}}
{{- define "ray-cluster.ray.managedFlags" -}}
address: ""
block: ""
dashboard-agent-grpc-port: ports.dashboardAgentGrpc
dashboard-agent-listen-port: ports.dashboardAgentListen
dashboard-port: ports.dashboard
head: ""
labels: NODE.rayLabels
max-worker-port: ports.workerMax
memory: NODE.resources.limits.memory
metrics-export-port: ports.metrics
min-worker-port: ports.workerMin
node-ip-address: ""
node-manager-port: ports.nodeManager
node-name: ""
num-cpus: NODE.numCpus
num-gpus: NODE.numGpus
object-manager-port: ports.objectManager
object-spilling-directory: NODE.objectSpilling.enabled
object-store-memory: NODE.objectStoreMemory
plasma-directory: NODE.objectStoreMemory
port: ports.gcs
ray-client-server-port: ports.client
redis-password: gcsFaultTolerance.redis.existingSecret
redis-username: gcsFaultTolerance.redis.username
resources: NODE.rayResources
runtime-env-agent-port: ports.runtimeEnvAgent
temp-dir: ""
worker-port-list: ports.workerMin
{{- end -}}

{{- define "ray-cluster.ray.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- if eq (toString .values.numCpus) "auto" }}
# In whole CPUs, rounded up: `ray start --num-cpus` takes no fractions.
- name: CPU_REQUEST
  valueFrom:
    resourceFieldRef:
      containerName: ray-{{ .component }}
      resource: requests.cpu
      divisor: "1"
{{- end }}
# Ray's names for the pod and its group: they show up in the dashboard and as Ray's label ray.io/node-group.
- name: RAY_CLOUD_INSTANCE_ID
  value: $(POD_NAME)
- name: RAY_NODE_TYPE_NAME
  value: {{ default "head" .group | quote }}
{{- with include "ray-cluster.auth.env" .ctx }}
{{ . }}
{{- end }}
{{- with include "ray-cluster.tls.env" .ctx }}
{{ . }}
{{- end }}
- name: RAY_USAGE_STATS_ENABLED
  value: {{ .ctx.Values.usageStats.enabled | ternary "1" "0" | quote }}
{{- if not .ctx.Values.usageStats.enabled }}
# A dashboard whose usage statistics are off still reports once that they are: to nobody, here.
- name: RAY_USAGE_STATS_REPORT_URL
  value: http://127.0.0.1:1
{{- end }}
- name: RAY_ROTATION_MAX_BYTES
  value: {{ include "ray-cluster.bytes" .ctx.Values.logRotation.maxSize | quote }}
- name: RAY_ROTATION_BACKUP_COUNT
  value: {{ int .ctx.Values.logRotation.backupCount | quote }}
# On SIGTERM a worker finishes its tasks first. A head has nothing to wait for, and its place should be taken soon.
- name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
  value: {{ dig "drain" "timeoutSeconds" 0 .values | int | quote }}
{{- if .ctx.Values.serve.enabled }}
# Ray Serve listens on localhost unless told otherwise, and a node is told by whichever driver starts Serve first.
- name: RAY_SERVE_DEFAULT_HTTP_HOST
  value: 0.0.0.0
{{- end }}
{{- range $name, $value := .values.history }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ get (include "ray-cluster.ray.historyEnv" $ | fromYaml) $name }}
  value: {{ int $value | quote }}
{{- end }}
{{- end }}
{{- if eq .component "head" }}
- name: AUTOSCALER_METRIC_PORT
  value: {{ .ctx.Values.ports.autoscalerMetrics | int | quote }}
- name: DASHBOARD_METRIC_PORT
  value: {{ .ctx.Values.ports.dashboardMetrics | int | quote }}
{{- include "ray-cluster.monitoring.env" .ctx }}
{{- end }}
{{- $faultTolerance := .ctx.Values.gcsFaultTolerance }}
{{- if ne $faultTolerance.mode "none" }}
{{- if eq .component "head" }}
{{ include "ray-cluster.storageEnv" .ctx }}
{{- else }}
- name: RAY_gcs_rpc_server_reconnect_timeout_s
  value: {{ int $faultTolerance.workerReconnectTimeoutSeconds | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Environment variables that `env` may not set, in the same form as managedFlags. */}}
{{- define "ray-cluster.ray.managedEnv" -}}
AUTOSCALER_METRIC_PORT: ports.autoscalerMetrics
CPU_REQUEST: ""
DASHBOARD_METRIC_PORT: ports.dashboardMetrics
POD_IP: ""
POD_NAME: ""
RAY_AUTH_MODE: auth.token.enabled
RAY_AUTH_TOKEN: auth.token.existingSecret
RAY_AUTH_TOKEN_PATH: auth.token.existingSecret
RAY_CLOUD_INSTANCE_ID: ""
RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S: worker.drain.timeoutSeconds
RAY_GRAFANA_CLUSTER_FILTER: monitoring.grafana.clusterFilter
RAY_GRAFANA_HOST: monitoring.grafana.host
RAY_GRAFANA_IFRAME_HOST: monitoring.grafana.iframeHost
RAY_GRAFANA_ORG_ID: monitoring.grafana.orgId
RAY_NODE_TYPE_NAME: ""
RAY_PROMETHEUS_HEADERS: monitoring.prometheus.headers
RAY_PROMETHEUS_HOST: monitoring.prometheus.host
RAY_PROMETHEUS_NAME: monitoring.prometheus.name
RAY_REDIS_ADDRESS: gcsFaultTolerance.redis.address
RAY_REDIS_CA_CERT: gcsFaultTolerance.redis.tls.caKey
RAY_REDIS_CLIENT_CERT: gcsFaultTolerance.redis.tls.certKey
RAY_REDIS_CLIENT_KEY: gcsFaultTolerance.redis.tls.keyKey
RAY_REDIS_PASSWORD: gcsFaultTolerance.redis.existingSecret
RAY_REDIS_SERVER_NAME: gcsFaultTolerance.redis.tls.serverName
RAY_ROTATION_BACKUP_COUNT: logRotation.backupCount
RAY_ROTATION_MAX_BYTES: logRotation.maxSize
RAY_SERVE_DEFAULT_HTTP_HOST: serve.enabled
RAY_TLS_CA_CERT: tls.existingSecret
RAY_TLS_SERVER_CERT: tls.existingSecret
RAY_TLS_SERVER_KEY: tls.existingSecret
RAY_USAGE_STATS_ENABLED: usageStats.enabled
RAY_USAGE_STATS_REPORT_URL: usageStats.enabled
RAY_USE_TLS: tls.enabled
RAY_external_storage_namespace: gcsFaultTolerance.redis.storageNamespace
RAY_gcs_rpc_server_reconnect_timeout_s: gcsFaultTolerance.workerReconnectTimeoutSeconds
RAY_gcs_storage: gcsFaultTolerance.mode
RAY_gcs_storage_path: ""
RAY_prestart_worker_first_driver: ""
{{- range $key, $name := include "ray-cluster.ray.historyEnv" . | fromYaml }}
{{ $name }}: head.history.{{ $key }}
{{- end }}
{{- end -}}

{{/* How Ray calls what `head.history` sets. The head alone keeps a history. */}}
{{- define "ray-cluster.ray.historyEnv" -}}
actors: RAY_maximum_gcs_destroyed_actor_cached_count
events: RAY_DASHBOARD_MAX_EVENTS_TO_CACHE
nodes: RAY_maximum_gcs_dead_node_cached_count
tasks: RAY_task_events_max_num_task_in_gcs
{{- end -}}

{{/* Whether Ray Serve listens on localhost whatever RAY_SERVE_DEFAULT_HTTP_HOST says, as it did in between. */}}
{{- define "ray-cluster.ray.serveIsLocal" -}}
{{- if semverCompare "~2.54.0" (default .Chart.AppVersion (include "ray-cluster.ray.version" .)) -}}
true
{{- end -}}
{{- end -}}

{{/*
The endpoint that a probe asks; `probe` is its name. The agent's on every node asks for the raylet, on the head for the GCS as
well, in milliseconds where the `ray` command takes half a second of CPU; an older agent's for the raylet alone. A head has
started when its dashboard answers: jobs come next.
*/}}
{{- define "ray-cluster.ray.health" -}}
{{- $both := include "ray-cluster.ray.has" (dict "ctx" .ctx "feature" "agentHealth") -}}
{{- $off := dig "include-dashboard" "" (default dict .values.rayStartParams) | regexMatch `^(?i)(0|f|n|off)` -}}
{{- $dashboard := and (eq .component "head") (not $off) -}}
{{- if and $dashboard (or (eq .probe "startupProbe") (and (eq .probe "livenessProbe") (not $both))) -}}
path: /api/gcs_healthz
port: dashboard
{{- else -}}
path: {{ ternary "/api/healthz" "/api/local_raylet_healthz" (not (empty $both)) }}
port: agent
{{- end -}}
{{- end -}}

{{/*
GPUs that a node offers: a number, or `auto`, what the container's limits say. Ray would count what it sees on the machine,
and a container without a limit sees all GPUs of some machines. Extended resources are always limits.
*/}}
{{- define "ray-cluster.ray.gpus" -}}
{{- $gpus := 0 -}}
{{- if ne (toString .numGpus) "auto" -}}
{{- $gpus = int .numGpus -}}
{{- else -}}
{{- range $resource, $count := dig "limits" dict (default dict .resources) -}}
{{- if regexMatch `^(nvidia\.com/(gpu(\.shared)?|mig-.+)|amd\.com/gpu|gpu\.intel\.com/(i915|xe))$` $resource -}}
{{- $gpus = add $gpus (include "ray-cluster.bytes" $count | int) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $gpus -}}
{{- end -}}

{{/* Where objects go that the object store has no room for, if they have a volume. */}}
{{- define "ray-cluster.ray.spillingDirectory" -}}
/object-spilling
{{- end -}}
