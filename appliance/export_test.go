package appliance

// Sign is sign, for the tests of what it refuses.
var Sign = sign
