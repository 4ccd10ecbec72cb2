{{/*
Head fault tolerance: where the GCS keeps its state, how a new head waits for the old one, and the hook that removes what a
release leaves in its Redis.

  include "ray-cluster.storageEnv" $                                             the head's environment
  include "ray-cluster.storageVolumes" $, "ray-cluster.storageMounts" $          the head's claim, certificates
  include "ray-cluster.waitForOldHead" $node                                     what `ray start` waits for, or empty
  include "ray-cluster.redisSecretName" $                                        the Secret with the password, or empty
  include "ray-cluster.cleansUp" $                                               true if an uninstall removes keys, or empty
  include "ray-cluster.cleanupMetadata" (dict "ctx" $ "weight" 0)                metadata of the hook's objects
  include "ray-cluster.cleanupPod" $                                             the pod template of the hook's Job
  include "ray-cluster.cleanupByHand" $                                          the command that does the same

  $node := dict "ctx" $ "component" "head" "values" .Values.head
*/}}

{{/*
What keys of this cluster begin with, after RAY and before @. The dot cannot be part of a Kubernetes namespace's name, so that
no two releases of any two namespaces get the same one. Ray's own default is one for everybody.
*/}}
{{- define "ray-cluster.storageNamespace" -}}
{{- default (printf "%s.%s" .Release.Namespace (include "ray-cluster.fullname" .)) .Values.gcsFaultTolerance.redis.storageNamespace -}}
{{- end -}}

{{- define "ray-cluster.redisSecretName" -}}
{{- with .Values.gcsFaultTolerance.redis -}}
{{- default (ternary "" (include "ray-cluster.redisName" $) (empty .password)) .existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.storageEnv" -}}
{{- if eq .Values.gcsFaultTolerance.mode "rocksdb" -}}
- name: RAY_gcs_storage
  value: rocksdb
- name: RAY_gcs_storage_path
  value: {{ include "ray-cluster.rocksdbDirectory" . }}
{{- else -}}
- name: RAY_REDIS_ADDRESS
  value: {{ .Values.gcsFaultTolerance.redis.address | quote }}
- name: RAY_external_storage_namespace
  value: {{ include "ray-cluster.storageNamespace" . | quote }}
{{- include "ray-cluster.redisEnv" (dict "ctx" . "secret" (include "ray-cluster.redisSecretName" .) "optional" false) }}
{{- end -}}
{{- end -}}

{{/* A Redis' password and certificates, as Ray reads them; "optional" for who starts without the Secret too. */}}
{{- define "ray-cluster.redisEnv" -}}
{{- $redis := .ctx.Values.gcsFaultTolerance.redis }}
{{- with .secret }}
- name: RAY_REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $redis.existingSecret | empty | ternary "redis-password" $redis.existingSecretPasswordKey | quote }}
      {{- if $.optional }}
      optional: true
      {{- end }}
{{- end }}
{{- if $redis.tls.existingSecret }}
{{- range $name, $key := dict "RAY_REDIS_CA_CERT" $redis.tls.caKey "RAY_REDIS_CLIENT_CERT" $redis.tls.certKey "RAY_REDIS_CLIENT_KEY" $redis.tls.keyKey }}
{{- with $key }}
- name: {{ $name }}
  value: {{ printf "%s/%s" (include "ray-cluster.certificatesDirectory" $.ctx) . }}
{{- end }}
{{- end }}
{{- end }}
{{- with $redis.tls.serverName }}
- name: RAY_REDIS_SERVER_NAME
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.storageVolumes" -}}
{{- with .Values.gcsFaultTolerance }}
{{- if eq .mode "rocksdb" }}
- name: gcs-storage
  persistentVolumeClaim:
    claimName: {{ default (include "ray-cluster.gcsName" $) .rocksdb.existingClaim | quote }}
{{- else if eq .mode "redis" }}
{{- include "ray-cluster.certificatesVolume" (dict "ctx" $ "optional" false) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.certificatesVolume" -}}
{{- with .ctx.Values.gcsFaultTolerance.redis.tls.existingSecret }}
- name: redis-certificates
  secret:
    secretName: {{ . | quote }}
    {{- if $.optional }}
    optional: true
    {{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.storageMounts" -}}
{{- with .Values.gcsFaultTolerance }}
{{- if eq .mode "rocksdb" }}
- name: gcs-storage
  mountPath: {{ include "ray-cluster.storageDirectory" $ }}
{{- else if eq .mode "redis" }}
{{- include "ray-cluster.certificatesMount" $ }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.certificatesMount" -}}
{{- if .Values.gcsFaultTolerance.redis.tls.existingSecret }}
- name: redis-certificates
  mountPath: {{ include "ray-cluster.certificatesDirectory" . }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "ray-cluster.storageDirectory" -}}
/gcs-storage
{{- end -}}

{{/* Not the claim's root, where a file system has a lost+found. */}}
{{- define "ray-cluster.rocksdbDirectory" -}}
{{ include "ray-cluster.storageDirectory" . }}/rocksdb
{{- end -}}

{{- define "ray-cluster.certificatesDirectory" -}}
/redis-certificates
{{- end -}}

{{/*
What files/ray.py runs before `ray start`, as a list. A Deployment replaces a deleted pod at once, while that
one is still on its way out, whatever its strategy. The new head waits a little longer than a head may take to leave; then the
container fails, and Kubernetes starts it again.
*/}}
{{- define "ray-cluster.waitForOldHead" -}}
{{- $mode := .ctx.Values.gcsFaultTolerance.mode -}}
{{- if and (eq .component "head") (ne $mode "none") -}}
- {{ .ctx.Files.Get "files/wait_for_old_head.py" | quote }}
{{- if eq $mode "rocksdb" }}
- --rocksdb={{ include "ray-cluster.rocksdbDirectory" .ctx }}
{{- end }}
# The dot keeps the resolver from asking for the name in every search domain first.
- {{ include "ray-cluster.headAddress" .ctx }}.
- {{ .ctx.Values.ports.gcs | quote }}
- {{ add 10 (include "ray-cluster.terminationGracePeriodSeconds" .) | quote }}
- --
{{- end -}}
{{- end -}}

{{- define "ray-cluster.cleansUp" -}}
{{- if and (eq .Values.gcsFaultTolerance.mode "redis") .Values.gcsFaultTolerance.redis.cleanup.enabled -}}
true
{{- end -}}
{{- end -}}

{{/* The hook's objects come when all others are gone, and go with the hook, however it ends. */}}
{{- define "ray-cluster.cleanupMetadata" -}}
{{- $hook := dict
      "helm.sh/hook" "post-delete"
      "helm.sh/hook-weight" (toString .weight)
      "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded,hook-failed" -}}
{{- $annotations := merge $hook (default dict .annotations) -}}
{{- include "ray-cluster.metadata" (dict "ctx" .ctx "component" "cleanup" "name" (include "ray-cluster.cleanupName" .ctx) "annotations" $annotations) -}}
{{- end -}}

{{/*
The Job's pod begins without the user's Secrets as well: those of a release's own extra objects are gone by now, and a warning is
better than an uninstall that hangs.
*/}}
{{- define "ray-cluster.cleanupPod" -}}
{{- $cleanup := .Values.gcsFaultTolerance.redis.cleanup -}}
{{- $account := default (ternary (include "ray-cluster.cleanupName" .) "" .Values.serviceAccount.create) .Values.head.serviceAccountName -}}
{{- $values := include "ray-cluster.hookValues" (dict "ctx" . "account" $account "podLabels" $cleanup.podLabels) | fromJson -}}
{{- $node := dict "ctx" . "component" "cleanup" "restartPolicy" "Never" "values" $values -}}
metadata:
  labels:
    {{- include "ray-cluster.podLabels" $node | nindent 4 }}
  {{- with $cleanup.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "ray-cluster.podSettings" $node | nindent 2 }}
  containers:
    - name: remove-redis-keys
      image: {{ include "ray-cluster.image" $node | quote }}
      imagePullPolicy: {{ (include "ray-cluster.imageOf" $node | fromJson).pullPolicy }}
      command: [python, -c]
      args:
        - {{ .Files.Get "files/remove_redis_keys.py" | quote }}
        - --
        - {{ .Values.gcsFaultTolerance.redis.address | quote }}
        - {{ default "" .Values.gcsFaultTolerance.redis.username | quote }}
        - {{ include "ray-cluster.storageNamespace" . | quote }}
        - {{ include "ray-cluster.cleanupByHand" . | quote }}
        - {{ .Files.Get "files/wait_for_old_head.py" | quote }}
        - --seen=$(POD_IP)
        - {{ include "ray-cluster.addressOf" (dict "ctx" . "name" (include "ray-cluster.cleanupName" .)) }}.
        - {{ .Values.ports.gcs | quote }}
        - {{ int $cleanup.timeoutSeconds | quote }}
      env:
        - name: POD_IP
          valueFrom:
            fieldRef:
              fieldPath: status.podIP
        {{- include "ray-cluster.redisEnv" (dict "ctx" . "secret" (include "ray-cluster.cleanupSecretName" .) "optional" true) | nindent 8 }}
      {{- range $field := list "resources" "securityContext" }}
      {{- with get (dict "resources" $cleanup.resources "securityContext" $values.securityContext) $field }}
      {{- toYaml (dict $field .) | nindent 6 }}
      {{- end }}
      {{- end }}
      {{- with include "ray-cluster.certificatesMount" . | trim }}
      volumeMounts:
        {{- . | nindent 8 }}
      {{- end }}
  {{- with include "ray-cluster.certificatesVolume" (dict "ctx" . "optional" true) | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Where the Job finds the password: the user's own Secret, or the hook's copy of the chart's. */}}
{{- define "ray-cluster.cleanupSecretName" -}}
{{- with .Values.gcsFaultTolerance.redis -}}
{{- default (ternary "" (include "ray-cluster.cleanupName" $) (empty .password)) .existingSecret -}}
{{- end -}}
{{- end -}}

{{/* With the password in REDISCLI_AUTH. The schema lets no character into a namespace that is more than itself in a pattern. */}}
{{- define "ray-cluster.cleanupByHand" -}}
{{- $redis := .Values.gcsFaultTolerance.redis -}}
{{- $parts := regexSplit ":" ($redis.address | trimPrefix "redis://" | trimPrefix "rediss://") 2 -}}
{{- $cli := printf "redis-cli -h %s -p %s" (first $parts) (last $parts) -}}
{{- with $redis.username -}}
{{- $cli = printf "%s --user %s" $cli . -}}
{{- end -}}
{{- if hasPrefix "rediss://" $redis.address -}}
{{- $cli = printf "%s --tls" $cli -}}
{{- range $flag, $key := dict "cacert" $redis.tls.caKey "cert" $redis.tls.certKey "key" $redis.tls.keyKey -}}
{{- if and $key $redis.tls.existingSecret -}}
{{- $cli = printf "%s --%s %s" $cli $flag $key -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $cli }} --scan --pattern 'RAY{{ include "ray-cluster.storageNamespace" . }}@*' | xargs -r {{ $cli }} unlink
{{- end -}}
