// An OpenID Connect provider for tests: node provider.mjs FOLDER PORT SETTINGS
// FOLDER has node_modules. Whoever logs in may have any name, and is who they say.
import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';

const [, , folder, port, given] = process.argv;
const found = createRequire(`${folder}/package.json`).resolve('oidc-provider');
const {default: Provider} = await import(pathToFileURL(found));
const settings = JSON.parse(given);
const device = 'urn:ietf:params:oauth:grant-type:device_code';

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: settings.clients.map((client) => ({
    // A native application's address on this machine may have any port (RFC 8252, 7.3).
    application_type: 'native', grant_types: [device, 'authorization_code'], ...client,
  })),
  conformIdTokenClaims: settings.conform ?? true,
  pkce: {required: () => true},
  cookies: {keys: ['for tests']},
  jwks: {keys: settings.keys},
  features: {devInteractions: {enabled: true}, deviceFlow: {enabled: true}},
  scopes: ['openid', 'email', 'groups', 'profile'],
  claims: {
    openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'],
    profile: ['preferred_username'],
  },
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({sub: `subject of ${id}`, preferred_username: id, ...settings.people[id]}),
  }),
});
provider.listen(Number(port), '127.0.0.1');
