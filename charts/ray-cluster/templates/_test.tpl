{{/*
What `helm test` runs: a pod that submits a job, and needs nothing but the way to the head that any pod of the release has.

  include "ray-cluster.testMetadata" $
  include "ray-cluster.testPod" $                                                the pod's spec
*/}}

{{/* A pod that failed stays until the next test, for whoever wants to look at it. It has the labels of the release's pods. */}}
{{- define "ray-cluster.testMetadata" -}}
{{- $hook := dict
      "helm.sh/hook" "test"
      "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded"
      "helm.sh/hook-output-log-policy" "hook-succeeded,hook-failed" -}}
{{- $test := .Values.helmTest -}}
{{- include "ray-cluster.metadata" (dict "ctx" . "component" "test" "name" (include "ray-cluster.testName" .) "labels" $test.podLabels "annotations" (merge $hook (default dict $test.podAnnotations))) -}}
{{- end -}}

{{- define "ray-cluster.testPod" -}}
{{- $values := include "ray-cluster.hookValues" (dict "ctx" . "account" .Values.head.serviceAccountName) | fromJson -}}
{{- $node := dict "ctx" . "component" "test" "restartPolicy" "Never" "values" $values -}}
{{ include "ray-cluster.podSettings" $node }}
# For a pod that never starts: it ends itself before that.
activeDeadlineSeconds: {{ add (int .Values.helmTest.timeoutSeconds) 50 }}
containers:
  - name: test
    image: {{ include "ray-cluster.image" $node | quote }}
    imagePullPolicy: {{ (include "ray-cluster.imageOf" $node | fromJson).pullPolicy }}
    command: [python, -c]
    args:
      - {{ .Files.Get "files/helm_test.py" | quote }}
      - {{ printf "http://%s:%v" (include "ray-cluster.headAddress" .) .Values.ports.dashboard }}
      - {{ int .Values.helmTest.timeoutSeconds | quote }}
      - {{ include "ray-cluster.testGroups" . | quote }}
      - {{ printf "kubectl -n %s get pods -l app.kubernetes.io/instance=%s" .Release.Namespace .Release.Name }}
      - {{ .Files.Get "files/helm_test_job.py" | quote }}
    {{- with include "ray-cluster.auth.env" . }}
    env:
      {{- . | nindent 6 }}
    {{- end }}
    {{- range $field, $value := dict "resources" .Values.helmTest.resources "securityContext" $values.securityContext }}
    {{- with $value }}
    {{- toYaml (dict $field .) | nindent 4 }}
    {{- end }}
    {{- end }}
{{- end -}}

{{/*
By group, how its pods' names begin and how many workers it has at least. What Kubernetes generates a name from, here the
Deployment's with two further parts, is cut to 58 characters.
*/}}
{{- define "ray-cluster.testGroups" -}}
{{- $groups := dict -}}
{{- range $name, $group := include "ray-cluster.workerGroups" . | fromJson -}}
{{- $minimum := dig "replicas" 1 $group -}}
{{- with $group.autoscaling -}}
{{- if .enabled -}}
{{- $minimum = .keda.enabled | ternary (dig "keda" "idleReplicaCount" .minReplicas .) .minReplicas -}}
{{- end -}}
{{- end -}}
{{- $prefix := printf "%s-" (include "ray-cluster.workerName" (dict "ctx" $ "group" $name)) | trunc 58 -}}
{{- $_ := set $groups $name (dict "prefix" $prefix "minimum" (int $minimum)) -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}
