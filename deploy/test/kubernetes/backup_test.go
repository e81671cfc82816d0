package kubernetes

import (
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// A CronJob makes the backups. Its failed Jobs stay, one at a time runs, and one that hangs ends before the next day. It has the key
// backup, and nothing of the companies.
func TestBackup(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		j := of[*batchv1.CronJob](b)["backup"]
		if (j != nil) != v.with("backup") {
			t.Fatalf("%+v", j)
		}
		if policy := of[*networkingv1.NetworkPolicy](b)["to-storage"]; (policy != nil) != v.with("storage") {
			t.Errorf("%+v", policy)
		}
		if j == nil {
			return
		}
		job := j.Spec.JobTemplate.Spec
		if j.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent || *j.Spec.FailedJobsHistoryLimit < 1 || job.TTLSecondsAfterFinished != nil ||
			*job.BackoffLimit > 3 || *job.ActiveDeadlineSeconds >= 86400 || job.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
			t.Errorf("%+v", j.Spec)
		}
		want := []string{"backup", "/backup", "--recipient=age1a"}
		var volumes []string
		for _, volume := range job.Template.Spec.Volumes {
			volumes = append(volumes, volume.Name)
		}
		mounted := []string{"key", "data"}
		if v.with("storage") {
			want = []string{"backup", "s3://acme/tieback?region=eu-central-1", "--recipient=age1a", "--recipient=age1b"}
			mounted = []string{"key", "ca", "storage"}
		}
		if args := job.Template.Spec.Containers[0].Args; !slices.Equal(args, want) || !slices.Equal(volumes, mounted) {
			t.Errorf("%q with %q, want %q with %q", args, volumes, want, mounted)
		}
	})
}

// The values reach the account of the workload identity, the rules of the storage and the schedule.
func TestBackupValues(t *testing.T) {
	v := variantOf(t, "backup to S3 with TLS to the broker")
	v.name = "backup with workload identity"
	v.set = append(slices.Clone(v.set), "backup.secret=", "backup.schedule=5 4 * * 1", "backup.serviceAccount.annotations.role=writer",
		"networkPolicies.storage[0].to[0].ipBlock.cidr=10.9.0.0/24", "networkPolicies.storage[0].ports[0].port=9000")
	b := build(t, v)
	if account := of[*corev1.ServiceAccount](b)["backup"]; account.Annotations["role"] != "writer" {
		t.Errorf("%+v", account)
	}
	if j := of[*batchv1.CronJob](b)["backup"]; j.Spec.Schedule != "5 4 * * 1" || len(j.Spec.JobTemplate.Spec.Template.Spec.Volumes) != 2 {
		t.Errorf("%+v", j)
	}
	rule := of[*networkingv1.NetworkPolicy](b)["to-storage"].Spec.Egress[0]
	if len(rule.To) != 1 || rule.To[0].IPBlock.CIDR != "10.9.0.0/24" || rule.Ports[0].Port.IntValue() != 9000 {
		t.Errorf("%+v", rule)
	}
}
