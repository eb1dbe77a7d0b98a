package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

var kinds = map[string]func([]byte) (*Box, error){"XChaCha20-Poly1305": New, "AES-256-GCM": NewGCM}

func box(t *testing.T, kind string, key byte) *Box {
	t.Helper()
	b, err := kinds[kind](bytes.Repeat([]byte{key}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatIsSealedOpensWithItsKeyAndForItsOwnerOnly(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			b := box(t, kind, 1)
			for _, text := range [][]byte{nil, []byte("a text")} {
				sealed := b.Seal(text, []byte("row 1"))
				if got, err := b.Open(sealed, []byte("row 1")); err != nil || !bytes.Equal(got, text) {
					t.Errorf("%q opens as %q, %v", text, got, err)
				}
				if len(text) > 0 && bytes.Contains(sealed, text) {
					t.Error("the text lies open")
				}
				if bytes.Equal(sealed, b.Seal(text, []byte("row 1"))) {
					t.Error("the same text is sealed the same way twice")
				}
				if _, err := b.Open(sealed, []byte("row 2")); err == nil {
					t.Error("it opens in another row")
				}
				if _, err := box(t, kind, 2).Open(sealed, []byte("row 1")); err == nil {
					t.Error("it opens with another key")
				}
				for i := range sealed {
					changed := bytes.Clone(sealed)
					changed[i] ^= 1
					if _, err := b.Open(changed, []byte("row 1")); err == nil {
						t.Errorf("it opens with byte %d changed", i)
					}
					if _, err := b.Open(sealed[:i], []byte("row 1")); err == nil {
						t.Errorf("%d bytes of it open", i)
					}
				}
			}
		})
	}
}

// The form is what databases hold: nonce, text, tag.
func TestWhatLiesInDatabasesOpens(t *testing.T) {
	key := bytes.Repeat([]byte{1}, KeySize)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	x, err := chacha20poly1305.NewX(key)
	if err != nil {
		t.Fatal(err)
	}
	for kind, a := range map[string]cipher.AEAD{"XChaCha20-Poly1305": x, "AES-256-GCM": gcm} {
		nonce := bytes.Repeat([]byte{7}, a.NonceSize())
		if got, err := box(t, kind, 1).Open(a.Seal(nonce, nonce, []byte("a text"), []byte("row 1")), []byte("row 1")); err != nil || string(got) != "a text" {
			t.Errorf("%s: %q, %v", kind, got, err)
		}
	}
}

func TestAKeyOfAnotherSizeIsRefused(t *testing.T) {
	for kind, make := range kinds {
		for _, n := range []int{0, 16, 24, 31, 33} {
			if _, err := make(bytes.Repeat([]byte{1}, n)); err == nil {
				t.Errorf("%s takes a key of %d bytes", kind, n)
			}
		}
	}
}
