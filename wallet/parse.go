package wallet

import "imageport/job"

// Parse reads the JSON object of a credential with the keys of the Credential
// Wallet API, as somebody sends it who wants to add it under that id. Its errors
// are *job.Errors with code BAD_REQUEST, and quote nothing of it but id and type.
func Parse(id string, object []byte) (Credential, error) {
	const remedy = "Send an object with the keys of the Credential Wallet API: id, type and those of the type"
	if !validID(id) {
		return Credential{}, job.Errorf(job.BadRequest, "Use an id of at most 128 bytes that is a plain file name", "%.200q cannot be the id of a credential", id)
	}
	if len(object) > maxEntryBytes {
		return Credential{}, job.Errorf(job.BadRequest, remedy, "the credential has more than %d bytes", maxEntryBytes)
	}
	e, err := decodeEntry(id, object)
	if err != nil {
		return Credential{}, job.Errorf(job.BadRequest, remedy, "the credential cannot be used: %w", err)
	}
	return e.Credential, nil
}
