// A certified OIDC provider on loopback. Lines on standard input steer it: `rotate` signs with a new key from then on, while the old one
// stays published. It prints its address once it listens, and `rotated` after each change.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { Provider } from 'oidc-provider';

const callbacks = JSON.parse(process.argv[2]);
const key = () => ({ ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' });
let keys = [key()];
let handle;

function begin(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      { client_id: 'astrarium', client_secret: 'a-secret-of-the-web-pages', redirect_uris: callbacks, grant_types: ['authorization_code'] },
      {
        client_id: 'astrarium-cli', token_endpoint_auth_method: 'none', application_type: 'native',
        redirect_uris: ['http://localhost:8400/callback', 'http://127.0.0.1:8400/callback'], grant_types: ['authorization_code', 'refresh_token'],
      },
    ],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:astrarium',
        getResourceServerInfo: () => ({ scope: 'openid email profile', audience: 'urn:astrarium:api', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
        useGrantedResource: () => true,
      },
    },
    extraTokenClaims: (_, token) => ({ email: `${token.accountId}@example.com`, name: `Person ${token.accountId}` }),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: `Person ${id}` }) }),
    cookies: { keys: ['a-key-of-cookies'] },
    pkce: { required: () => true },
    ttl: { Grant: 3600, Session: 3600, Interaction: 600, AccessToken: 600, IdToken: 600 },
  });
  handle = provider.callback();
}

const server = createServer((request, response) => handle(request, response));
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  begin(issuer);
  console.log(issuer);
  createInterface({ input: process.stdin }).on('line', () => {
    keys = [key(), ...keys].slice(0, 2);
    begin(issuer);
    console.log('rotated');
  }).on('close', () => process.exit(0));
});
