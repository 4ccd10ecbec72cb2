{{/*
How a worker of Ray < 2.57 drains. A newer one does by itself when it receives SIGTERM, as _ray.tpl tells it.

  include "ray-cluster.drainHook" $node                                          the preStop hook, or empty

The hook goes on as before for Ray Serve's pause, then has Ray place nothing new on the node, and returns when its work is done or
`drain.timeoutSeconds` are over. SIGTERM, which follows, stops such a Ray at once. Kubernetes expands no $(NAME) in a hook.
*/}}
{{- define "ray-cluster.drainHook" -}}
{{- $timeout := dig "drain" "timeoutSeconds" 0 .values | int -}}
{{- if and $timeout (not (include "ray-cluster.ray.has" (dict "ctx" .ctx "feature" "drainOnSigterm"))) -}}
exec:
  command:
    - python
    - -c
    - {{ .ctx.Files.Get "files/drain.py" | quote }}
    - {{ printf "%s:%v" (include "ray-cluster.headAddress" .ctx) .ctx.Values.ports.gcs }}
    - {{ .ctx.Values.ports.nodeManager | quote }}
    - {{ include "ray-cluster.servePause" . | quote }}
    - {{ $timeout | quote }}
{{- end -}}
{{- end -}}
