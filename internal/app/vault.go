package app

import (
	"errors"

	"tandem/internal/masking"
	"tandem/internal/seal"
)

// vault seals secrets that the program must be able to read again, each under the
// name of what it belongs to.
type vault struct{ box *seal.Box }

// Seal encrypts the secret of the thing that is named so.
func (v vault) Seal(of, secret string) []byte { return v.box.Seal([]byte(secret), []byte(of)) }

// password is that of a trunk's credentials.
func (v vault) password(t masking.Trunk) (string, error) {
	text, err := v.box.Open(t.Auth.Sealed, []byte(t.Name))
	if err != nil {
		return "", errors.New("the secret does not open with the master key")
	}
	return string(text), nil
}
