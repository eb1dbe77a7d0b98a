package relay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestKeysShowThemselvesNowhere(t *testing.T) {
	key := bytes.Repeat([]byte{0xA5}, 30)
	k := &Keys{Suite: "AES_CM_128_HMAC_SHA1_80", In: key, Out: key}
	r := Remote{Keys: k}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "pointer", k, "value", *k, "list", []*Keys{k})
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), string(text)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, x := range []any{k, *k, []*Keys{k}, struct{ K Keys }{*k}} {
			shown = append(shown, fmt.Sprintf(verb, x))
		}
	}
	for _, s := range shown {
		for _, secret := range []string{string(key), base64.StdEncoding.EncodeToString(key), "a5a5", "165", `\xa5`, "0xa5"} {
			if strings.Contains(s, secret) {
				t.Errorf("%q stands in %s", secret, s)
			}
		}
	}
}
