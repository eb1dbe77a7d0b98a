package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tandem/test/world"
)

// hook is one webhook as a receiver got it.
type hook struct {
	id, typ string
	data    map[string]any
}

// hooks is a receiver that checks every signature.
func hooks(t *testing.T, secret func() string) (url string, got chan hook) {
	t.Helper()
	got = make(chan hook, 100)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		verifier, err := standardwebhooks.NewWebhook(secret())
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		if err != nil {
			t.Errorf("a webhook that does not verify: %v", err)
		}
		var in struct {
			Type string
			Data map[string]any
		}
		if err := json.Unmarshal(body, &in); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		got <- hook{r.Header.Get("Webhook-Id"), in.Type, in.Data}
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

func TestWhatHappensArrivesSignedAndInOrder(t *testing.T) {
	t.Parallel()
	w, err := world.Start(world.Options{Environ: []string{"TANDEM_WEBHOOK_ALLOW_PRIVATE=true"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(time.Second); err != nil {
			t.Error(err)
		}
	}()
	if _, err := w.NewTenant("acme", "exclusive", "+914000000001"); err != nil {
		t.Fatal(err)
	}
	var endpoint struct {
		ID     string `json:"webhook_id"`
		Secret string `json:"secret"`
	}
	url, got := hooks(t, func() string { return endpoint.Secret })
	const path = "/v1/tenants/acme/webhooks"
	if err := w.Do("acme", "POST", path, map[string]any{"url": url}, &endpoint); err != nil {
		t.Fatal(err)
	}
	a, err := w.Allocate("acme", "+914000000001", []string{"+919900000001"}, []string{"+918800000002"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Do("acme", "PATCH", "/v1/tenants/acme/greenvn/"+a.ID, map[string]any{"duration": 60}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+a.ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"greenvn.created", "greenvn.updated", "greenvn.deallocated"} {
		if h := <-got; h.typ != want || h.data["greenvn_id"] != a.ID {
			t.Errorf("got %+v, want %s", h, want)
		}
	}
	var test struct {
		Outcome string `json:"outcome"`
		EventID string `json:"event_id"`
	}
	if err := w.Do("acme", "POST", path+"/"+endpoint.ID+"/test", nil, &test); err != nil {
		t.Fatal(err)
	}
	if h := <-got; test.Outcome != "delivered" || h.typ != "webhook.test" || h.id != test.EventID {
		t.Errorf("the test: %+v, arrived as %+v", test, h)
	}
	if text := w.Log.String(); strings.Contains(text, "whsec_") || strings.Contains(text, url) {
		t.Error("the log holds a secret or an address")
	}
}
