package app

import (
	"path/filepath"
	"testing"

	"tandem/internal/blob"
	"tandem/internal/config"
)

// The settings know by themselves what the blob store takes, so that a server with
// a wrong one says so at its start together with its other faults.
func TestTheSettingsTakeWhatTheBlobStoreOpens(t *testing.T) {
	credentials := func(string) string { return "set" }
	for url, fine := range map[string]bool{
		"file:" + filepath.Join(t.TempDir(), "recordings"):                        true,
		"s3://bucket?endpoint=http://127.0.0.1:9000":                              true,
		"s3://bucket/?endpoint=https://s3.example/":                               true,
		"s3://my.bucket/a/b-c/d_e?region=x&endpoint=https%3A%2F%2Fs3.example%3A1": true,
		"s3://bucket":                                             false,
		"s3://bucket?endpoint=s3.example":                         false,
		"s3://bucket?endpoint=ftp://s3.example":                   false,
		"s3://bucket?endpoint=https://a:b@s3.example":             false,
		"s3://bucket?endpoint=https://s3.example/prefix":          false,
		"s3://bucket?endpoint=https://s3.example&secret=x":        false,
		"s3://bucket?endpoint=https://s3.example&endpoint=http:a": false,
		"s3://a:b@bucket?endpoint=https://s3.example":             false,
		"s3://?endpoint=https://s3.example":                       false,
		"s3://bucket/a//b?endpoint=https://s3.example":            false,
		"s3://bucket/.a?endpoint=https://s3.example":              false,
		"s3://bucket/a b?endpoint=https://s3.example":             false,
		"ftp://bucket": false,
	} {
		_, taken := config.Load(config.Sources{Environ: []string{"TANDEM_BLOB_URL=" + url}})
		_, opened := blob.Open(url, credentials)
		if (taken == nil) != fine || (opened == nil) != fine {
			t.Errorf("%s: the settings say %v, the blob store %v", url, taken, opened)
		}
	}
}
