//go:build !race

// See rotate_keys_test.go for the build constraint.

package endtoend

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Each secret is rotated while the pipeline runs. Requests before, between and after succeed, the old secret is refused, and no
// process is restarted.
func TestSecretsRotateWithoutRestart(t *testing.T) {
	t.Parallel()
	r := newRotation(t)
	r.succeeded(r.press("create_vendor"))
	r.rotateWebhookToken()
	r.rotateClientSecret()
	r.rotatePassword()
	r.rotateBrokerKey()
	r.takeTheKeyAwayFirst()
	r.succeeded(r.press("create_vendor"))
	r.line.stop()
	for _, secret := range r.secrets {
		if strings.Contains(r.log.all(), secret) || strings.Contains(r.world.files(), secret) {
			t.Errorf("a secret is in the log or the data folder: %s", secret)
		}
	}
}

// rotateWebhookToken changes Procore's hook while both tokens are valid.
func (r *rotation) rotateWebhookToken() {
	const old, next = "webhook-token-0123456789abcdef", "webhook-token-fedcba9876543210"
	r.keep(next)
	r.rewrite("webhook_tokens", old+"\n"+next)
	for token, want := range map[string]int{old: http.StatusOK, next: http.StatusOK} {
		if got, _ := r.deliver(firstCompany, token, shapes["v2.0"](firstCompany, 1)); got/100 != want/100 {
			r.Errorf("during the rotation a token is answered %d", got)
		}
	}
	r.must(r.sandbox.RotateToken(firstCompany, next))
	r.succeeded(r.press("create_vendor"))
	r.rewrite("webhook_tokens", next)
	if got, _ := r.deliver(firstCompany, old, shapes["v2.0"](firstCompany, 1)); got != http.StatusUnauthorized {
		r.Errorf("the removed token is answered %d", got)
	}
	r.succeeded(r.press("create_vendor"))
}

// rotateClientSecret creates a new secret in Procore, which invalidates the old one at once. Events wait until the file has it.
func (r *rotation) rotateClientSecret() {
	old, next := r.secret, "client-secret-fedcba9876543210"
	r.keep(next)
	r.must(r.sandbox.RotateSecret(firstCompany, next))
	mark := r.log.mark()
	request := r.press("create_vendor")
	r.log.await(r.T, mark, "login", "401")
	r.open(request)
	mark = r.log.mark()
	r.write("client_secret", next)
	r.log.await(r.T, mark, "secrets rotated: Procore accepts the new credentials")
	r.succeeded(request)
	answer, err := http.PostForm(r.url+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"client-0"}, "client_secret": {old}})
	r.must(err)
	r.must(answer.Body.Close())
	if answer.StatusCode != http.StatusUnauthorized {
		r.Errorf("the old client secret is answered %d", answer.StatusCode)
	}
}

// rotatePassword changes the password of the ERP, which invalidates the old one at once.
func (r *rotation) rotatePassword() {
	const next = "erp-password-fedcba9876543210"
	r.keep(next)
	r.erp.accept(next)
	mark := r.log.mark()
	request := r.press("create_vendor")
	r.log.await(r.T, mark, "connector call", "password is wrong")
	r.open(request)
	r.rewrite("connector.password", next)
	r.succeeded(request)
	if opened, closed := r.erp.counts(); opened != closed+1 {
		r.Errorf("%d drivers were opened and %d closed", opened, closed)
	}
}

// rotateBrokerKey rotates the key while the broker accepts both.
func (r *rotation) rotateBrokerKey() {
	next := r.newKey()
	r.broker.knows(r.T, r.key, next)
	r.succeeded(r.press("create_vendor"))
	r.write("broker.nk", next)
	r.succeeded(r.press("create_vendor"))
	r.broker.knows(r.T, next) // closes the connection of the old key
	r.succeeded(r.press("create_vendor"))
	r.refused(r.key)
	r.key = next
}

// takeTheKeyAwayFirst rotates in the wrong order: the broker refuses the service for a while, and then accepts it again.
func (r *rotation) takeTheKeyAwayFirst() {
	next := r.newKey()
	mark := r.log.mark()
	r.broker.knows(r.T, next)
	for range 4 { // by default nats.go gives up after the second
		mark = r.log.await(r.T, mark, "broker refused", "authorization violation")
	}
	request := r.press("create_vendor")
	r.write("broker.nk", next)
	r.succeeded(request)
	r.refused(r.key)
	r.key = next
}

// refused checks that the broker refuses a key.
func (r *rotation) refused(seed string) {
	r.Helper()
	pair, err := nkeys.FromSeed([]byte(seed))
	r.must(err)
	public, err := pair.PublicKey()
	r.must(err)
	nc, err := nats.Connect(r.broker.ClientURL(), nats.Nkey(public, pair.Sign))
	if err == nil {
		nc.Close()
	}
	if !errors.Is(err, nats.ErrAuthorization) {
		r.Errorf("the old broker key is answered %v", err)
	}
}
